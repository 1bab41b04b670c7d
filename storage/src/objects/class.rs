//! Who asks for an object: decides how long a request may take, how often it is tried and how many run at once, so
//! that a consumer that reads old data never slows a producer.

use std::time::Duration;

/// Who makes a request to the object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectClass {
    /// An upload on the path of produce requests: a flush of the write-ahead log.
    Flush,
    /// A consumer close to the end of the log.
    TailRead,
    /// A consumer that reads old data.
    CatchUpRead,
    /// Writing or reading a checkpoint, and recovery, with what it lists.
    Checkpoint,
    /// Making segments from L0 objects.
    Reorganisation,
    /// Deleting, and the listings that look for what to delete.
    Garbage,
}

impl ObjectClass {
    /// Every class.
    pub const ALL: [Self; 6] = [
        Self::Flush,
        Self::TailRead,
        Self::CatchUpRead,
        Self::Checkpoint,
        Self::Reorganisation,
        Self::Garbage,
    ];

    /// The name in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::TailRead => "tail_read",
            Self::CatchUpRead => "catch_up_read",
            Self::Checkpoint => "checkpoint",
            Self::Reorganisation => "reorganisation",
            Self::Garbage => "garbage",
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Flush => 0,
            Self::TailRead => 1,
            Self::CatchUpRead => 2,
            Self::Checkpoint => 3,
            Self::Reorganisation => 4,
            Self::Garbage => 5,
        }
    }

    /// How many requests of this class run at once; more wait. Old data gets few, so that its reads leave the disk
    /// and the memory of the answers to producers and tail readers.
    pub(crate) fn requests_at_once(self, most: AtOnce) -> usize {
        match self {
            Self::Flush => most.uploads,
            Self::TailRead => most.reads,
            Self::CatchUpRead => (most.reads / 4).max(1),
            Self::Checkpoint => 8,
            Self::Reorganisation | Self::Garbage => 4,
        }
    }

    /// How many more wait for one of these to end; what comes on top is sent away at once. What the callers hold in
    /// memory bounds them more tightly; this catches whoever forgets it.
    pub(crate) fn waiting_max(self) -> usize {
        match self {
            Self::Flush | Self::TailRead | Self::CatchUpRead => 1_024,
            Self::Checkpoint | Self::Reorganisation | Self::Garbage => 256,
        }
    }

    /// How long a request waits for its turn when the store has asked for fewer. When there is not room for all, this
    /// decides who goes: uploads of produce requests first, then tail reads, old data, segments, the clean-up.
    pub(crate) fn turn_within(self) -> Duration {
        Duration::from_millis(match self {
            Self::Flush => 5_000,
            Self::Checkpoint => 3_000,
            Self::TailRead => 2_000,
            Self::CatchUpRead => 800,
            Self::Reorganisation => 300,
            Self::Garbage => 100,
        })
    }

    /// How often a request that may be repeated is tried in all. The callers of uploads, checkpoints and deletions
    /// have loops of their own; consumers see an error soon and ask again.
    pub(crate) fn attempts_max(self) -> u32 {
        match self {
            Self::Flush | Self::TailRead | Self::CatchUpRead => 4,
            Self::Checkpoint => 6,
            Self::Reorganisation | Self::Garbage => 3,
        }
    }
}

/// How many requests run at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtOnce {
    /// Uploads of produce requests.
    pub(crate) uploads: usize,
    /// Reads close to the end of the log; a quarter as many of old data come on top.
    pub(crate) reads: usize,
}

impl Default for AtOnce {
    fn default() -> Self {
        Self {
            uploads: 16,
            reads: 32,
        }
    }
}

/// How long one attempt may take, by the kind of the store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// A store behind a network. The time is that of the first attempt of a small request, and short, since a lost one is
    /// best tried again soon; later attempts get twice as long (the providers' advice: 2 s, then 4 s).
    Remote(Duration),
    /// A folder: repeating a slow fsync makes it slower, so an attempt gives up only on a disk that hangs.
    Folder,
}

impl Patience {
    /// A store behind a network, as its providers advise.
    pub(crate) const REMOTE: Self = Self::Remote(Duration::from_secs(2));

    /// The limit of attempt number `attempt` (from 0) of a request that moves `bytes`.
    pub(crate) fn limit(self, attempt: u32, bytes: u64) -> Duration {
        const SMALL: u64 = 512 * 1024;
        const BYTES_PER_MS: u64 = 10_000;
        let transfer = Duration::from_millis(bytes / BYTES_PER_MS);
        match self {
            Self::Remote(first) if attempt == 0 && bytes <= SMALL => first,
            Self::Remote(first) if attempt == 0 => first / 2 + transfer,
            Self::Remote(first) if bytes <= SMALL => first * 2,
            Self::Remote(first) => first * 2 + transfer,
            Self::Folder => Duration::from_secs(60) + transfer,
        }
    }

    /// How long a request waits for others of its class to end.
    pub(crate) fn lane_limit(self) -> Duration {
        match self {
            Self::Remote(_) => Duration::from_secs(15),
            Self::Folder => Duration::from_secs(120),
        }
    }
}
