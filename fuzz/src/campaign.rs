//! Running a target over many inputs, and saying of a failure what repeats it.
//!
//! What finds what: a panic is caught; memory is counted by the allocator, at its peak and in all; what never ends is ended
//! by whoever started the run, who then learns from the marks how far it came.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::target::{Target, Verdict};
use crate::{corpus, mutate};

/// Executions that making a failing input smaller may take.
const SMALLER_MAX: usize = 5_000;

/// How much memory one execution may take in all, for what it may take at its peak: bounds work that takes memory.
const TOTAL_PER_PEAK: u64 = 64;

thread_local! {
    static PANIC: RefCell<Option<Broken>> = const { RefCell::new(None) };
}

/// What did not hold, and where that was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// File and line, or what was counted.
    pub place: String,
    /// In words.
    pub message: String,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Inputs.
    pub executions: u64,
    /// How many of them were bent ones that the reader accepted.
    pub bent_accepted: u64,
    /// How many of them were refused.
    pub refused: u64,
    /// The largest peak of memory, in bytes.
    pub peak: u64,
}

/// An input for which something did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The target.
    pub target: &'static str,
    /// What did not hold.
    pub broken: Broken,
    /// The words that repeat it, behind `cargo run -p streamhouse-fuzz --`.
    pub repeat: String,
    /// The input, and the smallest that was found for the same place.
    pub input: Vec<u8>,
    /// See `input`.
    pub smallest: Vec<u8>,
}

/// Remembers panics instead of printing them. Call once, before the first execution.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let broken = Broken {
            place: place.unwrap_or_default(),
            message: text.unwrap_or("a panic without a text").to_owned(),
        };
        PANIC.with_borrow_mut(|last| *last = Some(broken));
    }));
}

/// Runs `target` once.
///
/// # Errors
/// What did not hold.
pub fn execute(target: &Target, input: &[u8]) -> Result<(Verdict, u64), Broken> {
    let mut outcome = None;
    let taken = allocation_counter::measure(|| {
        outcome = Some(catch_unwind(AssertUnwindSafe(|| (target.check)(input))));
    });
    let verdict = match outcome {
        Some(Ok(verdict)) => verdict,
        Some(Err(_)) | None => {
            let broken = PANIC.with_borrow_mut(Option::take);
            return Err(broken.unwrap_or(Broken {
                place: "somewhere".to_owned(),
                message: "a panic that nobody saw".to_owned(),
            }));
        }
    };
    let peak_max = target.memory.of(input.len());
    let total_max = peak_max.saturating_mul(TOTAL_PER_PEAK);
    let over = [
        ("peak of memory", taken.bytes_max, peak_max),
        ("memory in all", taken.bytes_total, total_max),
    ];
    for (place, took, max) in over {
        if took > max {
            let length = input.len();
            return Err(Broken {
                place: place.to_owned(),
                message: format!("{took} bytes for an input of {length} bytes, more than {max}"),
            });
        }
    }
    Ok((verdict, taken.bytes_max))
}

/// One run.
#[derive(Debug)]
pub struct Campaign {
    /// The target.
    pub target: &'static Target,
    /// The seed.
    pub seed: u64,
    /// The numbers of the inputs.
    pub numbers: Range<u64>,
    /// Where the number of each input is written before it is tried, for a run that is expected to die.
    pub marks: Option<File>,
}

impl Campaign {
    /// Tries the regressions, if it begins at the beginning, then the inputs.
    ///
    /// # Errors
    /// The first input for which something did not hold.
    ///
    /// # Panics
    /// If a mark cannot be written.
    pub fn run(&self) -> Result<Report, Box<Failure>> {
        let target = self.target;
        let is_whole = self.numbers.start == 0;
        let regressions = is_whole.then(|| corpus::regressions(target.name));
        for (name, input) in regressions.into_iter().flatten() {
            if let Err(broken) = execute(target, &input) {
                let repeat = format!("{} {name}", target.name);
                return Err(Failure::of(target, broken, repeat, input));
            }
        }
        let sound = (target.seeds)();
        let sound_count = u64::try_from(sound.len()).unwrap_or(u64::MAX);
        let mut report = Report::default();
        for number in self.numbers.clone() {
            if let Some(marks) = &self.marks {
                let mark = marks.write_all_at(&number.to_be_bytes(), 0);
                mark.expect("a mark can be written");
            }
            let input = mutate::input(target, &sound, self.seed, number);
            match execute(target, &input) {
                Ok((verdict, peak)) => {
                    report.executions += 1;
                    report.peak = report.peak.max(peak);
                    match verdict {
                        Verdict::Accepted if number >= sound_count => report.bent_accepted += 1,
                        Verdict::Accepted => {}
                        Verdict::Refused => report.refused += 1,
                    }
                }
                Err(broken) => {
                    let repeat = format!("{} --seed {} --at {number}", target.name, self.seed);
                    return Err(Failure::of(target, broken, repeat, input));
                }
            }
        }
        Ok(report)
    }
}

impl Failure {
    fn of(target: &'static Target, broken: Broken, repeat: String, input: Vec<u8>) -> Box<Self> {
        let smallest = smaller(target, &input, &broken);
        Box::new(Self {
            target: target.name,
            broken,
            repeat,
            input,
            smallest,
        })
    }

    /// What to print: what did not hold, the command that repeats it, and where the smallest input was put.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = String::new();
        let Broken { place, message } = &self.broken;
        let lines = [
            format!("{} FAILED at {place}: {message}", self.target),
            format!(
                "  repeat:   cargo run -p streamhouse-fuzz -- {}",
                self.repeat
            ),
            format!(
                "  input:    {} bytes: {}",
                self.input.len(),
                shown(&self.input)
            ),
            format!(
                "  smallest: {} bytes: {}",
                self.smallest.len(),
                shown(&self.smallest)
            ),
            format!("  kept as:  {}", self.keep()),
        ];
        for line in lines {
            writeln!(text, "{line}").expect("writing into a String cannot fail");
        }
        text
    }

    fn keep(&self) -> String {
        let folder = results().join(self.target);
        let name = format!("{:08x}", crc32c::crc32c(&self.smallest));
        let path = folder.join(name);
        let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &self.smallest));
        match kept {
            Ok(()) => path.display().to_string(),
            Err(error) => format!("nowhere: {error}"),
        }
    }
}

/// Where failing inputs and the corpora of guided runs are put.
#[must_use]
pub fn results() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| corpus::sources().join("target"), PathBuf::from);
    target.join("fuzz")
}

/// The beginning of an input, as text if it is one.
fn shown(input: &[u8]) -> String {
    const MOST: usize = 96;
    let head = &input[..input.len().min(MOST)];
    let more = if input.len() > MOST { "..." } else { "" };
    match std::str::from_utf8(head) {
        Ok(text) if text.chars().all(|c| c == '\n' || !c.is_control()) => {
            format!("{text:?}{more}")
        }
        Ok(_) | Err(_) => {
            let hex: Vec<String> = head.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}{more}", hex.concat())
        }
    }
}

/// A smaller input that fails at the same place: leaves pieces out while it still fails.
fn smaller(target: &Target, input: &[u8], broken: &Broken) -> Vec<u8> {
    let mut smallest = input.to_vec();
    let mut left = SMALLER_MAX;
    let mut piece = smallest.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < smallest.len() {
            if left == 0 {
                return smallest;
            }
            left -= 1;
            let mut without = smallest.clone();
            without.drain(at..smallest.len().min(at + piece));
            match execute(target, &without) {
                Err(found) if found.place == broken.place => smallest = without,
                Ok(_) | Err(_) => at += piece,
            }
        }
        piece /= 2;
    }
    smallest
}
