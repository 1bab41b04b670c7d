//! Damage of the write-ahead log, as its operator meets it: refused, named, accepted by the named command, told at every
//! start, and forgotten when the damaged file is gone.

use std::path::{Path, PathBuf};

use crate::broker::{Dev, complained, run, said};

/// What is flushed leaves the WAL at once.
const FLUSHING: &[&str] = &["log.flush_interval=100ms"];
/// Commands between two looks; each takes milliseconds.
const LOOKS_MAX: usize = 2000;

/// A data folder, and a place beside it for the broker's log lines.
struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        Self { dir }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn accepted(&self) -> PathBuf {
        self.data().join("accepted-wal-losses")
    }

    fn start(&self) -> Dev {
        self.start_with(&[])
    }

    fn start_with(&self, settings: &[&str]) -> Dev {
        Dev::start_logging(&self.data(), settings, &self.dir.path().join("log"))
    }

    /// What the broker that was started last wrote to its log.
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The complaint of a start that is refused.
    fn refused(&self) -> String {
        let data = self.data();
        complained(
            &run(&["dev", "--port", "0", "--data", data.to_str().unwrap()]),
            65,
        )
    }

    fn accept_loss(&self, arguments: &[&str]) -> std::process::Output {
        let data = self.data();
        let command = ["wal", "accept-loss", "--data", data.to_str().unwrap()];
        run(&[&command[..], arguments].concat())
    }

    fn wal_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data().join("wal")).unwrap();
        let names = entries.map(|entry| entry.unwrap().path());
        names
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with('0'))
            .collect()
    }

    /// Changes one byte of the record that holds `needle`.
    fn damage(&self, needle: &str) -> PathBuf {
        for path in self.wal_files() {
            let mut bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(needle.len())
                .position(|part| part == needle.as_bytes());
            if let Some(at) = found {
                bytes[at] ^= 0x20;
                std::fs::write(&path, bytes).unwrap();
                return path;
            }
        }
        panic!("{needle} is in no file of the WAL");
    }
}

fn produce(broker: &Dev, topic: &str, value: &str) {
    said(&broker.fed(&["produce", topic], &format!("{value}\n")));
}

fn consume(broker: &Dev, topic: &str) -> String {
    said(&broker.tool(&["consume", topic, "--from-beginning", "--exit"]))
}

/// The command that a text names and that contains `part`, as arguments of the binary.
fn named<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
    let commands = text.split(['`', '\n', '"']).map(str::trim);
    let mut commands = commands.filter_map(|command| command.strip_prefix("streamhouse "));
    let command = commands.find(|command| command.contains(part));
    let command = command.unwrap_or_else(|| panic!("no command with {part} in {text}"));
    command.split(' ').collect()
}

/// The commands of the page for operators, in their order, with what stands for values filled in.
fn of_page(data: &Path, shard: &str, range: &str) -> Vec<Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/start.md");
    let page = std::fs::read_to_string(page).unwrap();
    let lines = page.lines().filter_map(|line| {
        let command = line.strip_prefix("streamhouse wal ")?;
        let words = command.split(' ').map(|word| match word {
            "DIR" => data.to_str().unwrap().to_owned(),
            "N" => shard.to_owned(),
            "FROM..TO" => range.to_owned(),
            other => other.to_owned(),
        });
        Some(std::iter::once("wal".to_owned()).chain(words).collect())
    });
    lines.collect()
}

/// Runs commands against the broker until `is_done`.
fn wait_for(broker: &Dev, what: &str, is_done: impl Fn() -> bool) {
    for _ in 0..LOOKS_MAX {
        if is_done() {
            return;
        }
        said(&broker.tool(&["topic", "list"]));
    }
    panic!("{what} never came");
}

#[test]
fn damage_in_the_middle_is_named_accepted_told_and_forgotten() {
    let folder = Folder::new();
    let broker = folder.start();
    produce(&broker, "whole", "before");
    produce(&broker, "hurt", "lost-for-good");
    produce(&broker, "whole", "after");
    broker.kill();
    let file = folder.damage("lost-for-good");
    let name = file.file_name().unwrap().to_str().unwrap();

    let refused = folder.refused();
    assert!(
        refused.contains(name) && refused.contains("cannot be read"),
        "{refused}"
    );
    let command = named(&refused, "wal accept-loss");
    assert!(!folder.accepted().exists());
    let told = said(&folder.accept_loss(&[]));
    assert!(
        told.contains(name) && told.contains("nothing was changed"),
        "{told}"
    );
    assert_eq!(named(&told, "--range"), command, "the same words");
    assert_eq!(folder.refused(), refused, "telling accepts nothing");

    let accepted = said(&run(&command));
    assert!(
        accepted.contains("--shard N --range FROM..TO"),
        "{accepted}"
    );
    said(&run(&command));
    let told = said(&folder.accept_loss(&[]));
    assert!(told.contains("this loss is accepted"), "{told}");
    let range = *command.last().unwrap();
    for start in ["first", "second"] {
        let broker = folder.start();
        assert_eq!(consume(&broker, "whole"), "before\nafter\n", "{start}");
        let log = folder.log();
        let line = log
            .lines()
            .find(|line| line.contains("their loss was accepted"));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(range) && line.contains("WARN"), "{line}");
        broker.kill();
    }

    let broker = folder.start_with(FLUSHING);
    produce(&broker, "hurt", "new");
    assert_eq!(consume(&broker, "hurt"), "new\n");
    wait_for(&broker, "the damaged file's end", || !file.exists());
    assert_eq!(broker.stop(), Some(0));
    let broker = folder.start();
    let log = folder.log();
    assert!(
        log.contains("their accepted loss is forgotten") && log.contains(range),
        "{log}"
    );
    assert!(!folder.accepted().exists());
    assert_eq!(consume(&broker, "whole"), "before\nafter\n");
    assert_eq!(consume(&broker, "hurt"), "new\n");
    assert_eq!(broker.stop(), Some(0));
    let nothing = complained(&run(&command), 65);
    assert!(nothing.contains("nothing to accept"), "{nothing}");
}

/// The two commands, one after the other: what lies behind the damage in the same partition does not follow any more.
#[test]
fn a_shard_that_misses_accepted_records_stops_and_names_its_own_command() {
    let folder = Folder::new();
    let broker = folder.start();
    for value in ["first", "lost-for-good", "behind"] {
        produce(&broker, "hurt", value);
    }
    produce(&broker, "other", "untouched");
    broker.kill();
    folder.damage("lost-for-good");
    let refused = folder.refused();
    let named_now = named(&refused, "wal accept-loss");
    let page = of_page(&folder.data(), "", named_now.last().unwrap());
    let [look, accept, _] = &page[..] else {
        panic!("{page:?}")
    };
    assert_eq!(*accept, named_now);
    let looked = run(&look.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(named(&said(&looked), "--range"), named_now);
    said(&run(&named_now));

    let broker = folder.start();
    assert_eq!(consume(&broker, "other"), "untouched\n");
    let log = folder.log();
    assert!(log.contains("metadata_regression"), "{log}");
    let shards_own = named(&log, "--shard");
    assert_eq!(shards_own[..2], ["wal", "accept-loss"]);
    assert_eq!(broker.stop(), Some(0));
    let [.., shard, _, range] = shards_own[..] else {
        panic!("{shards_own:?}")
    };
    let page = of_page(&folder.data(), shard, range);
    let of_shard: Vec<&str> = page[2].iter().map(String::as_str).collect();
    assert_eq!(of_shard[4..], shards_own[2..]);
    let gave_up = said(&run(&of_shard));
    assert!(gave_up.contains("gave up 1 entries"), "{gave_up}");

    for _ in 0..2 {
        let broker = folder.start();
        assert_eq!(consume(&broker, "hurt").lines().next(), Some("first"));
        assert_eq!(consume(&broker, "other"), "untouched\n");
        produce(&broker, "hurt", "next");
        broker.kill();
    }
    let broker = folder.start();
    assert_eq!(consume(&broker, "hurt"), "first\nnext\nnext\n");
    assert_eq!(broker.stop(), Some(0));
}

/// The first refused start must not make the second one pass.
#[test]
fn a_missing_newest_file_is_refused_at_every_start_until_it_is_accepted() {
    let folder = Folder::new();
    let broker = folder.start_with(FLUSHING);
    produce(&broker, "t", "kept");
    let metrics = || said(&broker.tool(&["topic", "describe", "t"]));
    let is_flushed = || !metrics().is_empty() && has_objects(&folder.data().join("objects"));
    wait_for(&broker, "an object", is_flushed);
    produce(&broker, "t", "taken");
    broker.kill();
    for file in folder.wal_files() {
        std::fs::remove_file(file).unwrap();
    }
    let refused = folder.refused();
    assert!(refused.contains("it is missing"), "{refused}");
    assert_eq!(folder.refused(), refused, "again");
    assert_eq!(folder.refused(), refused, "and again");
    let told = said(&folder.accept_loss(&[]));
    let command = named(&refused, "wal accept-loss");
    assert_eq!(named(&told, "--range"), command);
    said(&run(&command));
    let broker = folder.start();
    let log = folder.log();
    assert!(log.contains("their loss was accepted"), "{log}");
    assert!(consume(&broker, "t").starts_with("kept\n"));
    produce(&broker, "t", "new");
    broker.kill();
    let broker = folder.start();
    assert!(
        !folder.accepted().exists(),
        "nothing is missing behind the new file"
    );
    let all = consume(&broker, "t");
    assert!(all.starts_with("kept\n") && all.ends_with("new\n"), "{all}");
    assert_eq!(broker.stop(), Some(0));
}

/// Nothing but the file itself held these records, and nothing but the data folder knows that there was one.
#[test]
fn a_missing_file_of_which_nothing_was_flushed_is_refused_and_accepted() {
    let folder = Folder::new();
    let broker = folder.start();
    produce(&broker, "t", "gone");
    broker.kill();
    let aside = folder.dir.path().join("aside");
    let [file] = &folder.wal_files()[..] else {
        panic!("one file is enough for one record")
    };
    std::fs::rename(file, &aside).unwrap();
    let refused = folder.refused();
    assert!(refused.contains("it is missing"), "{refused}");
    assert_eq!(folder.refused(), refused, "again");
    std::fs::rename(&aside, file).unwrap();
    let broker = folder.start();
    assert_eq!(
        consume(&broker, "t"),
        "gone\n",
        "a file that is back loses nothing"
    );
    broker.kill();
    for file in folder.wal_files() {
        std::fs::remove_file(file).unwrap();
    }
    let refused = folder.refused();
    said(&run(&named(&refused, "wal accept-loss")));
    for expected in ["new\n", "new\nnew\n"] {
        let broker = folder.start();
        produce(&broker, "t", "new");
        assert_eq!(consume(&broker, "t"), expected);
        broker.kill();
    }
    assert!(!folder.accepted().exists());
}

#[test]
fn without_the_folder_of_the_wal_there_is_a_way_to_what_was_uploaded() {
    let folder = Folder::new();
    let broker = folder.start_with(FLUSHING);
    produce(&broker, "t", "uploaded");
    let objects = folder.data().join("objects");
    wait_for(&broker, "an object", || has_objects(&objects));
    assert_eq!(broker.stop(), Some(0));
    let wal = folder.data().join("wal");
    std::fs::remove_dir_all(&wal).unwrap();
    let refused = folder.refused();
    assert!(refused.contains("make an empty folder"), "{refused}");
    let look = named(&refused, "wal accept-loss");
    std::fs::create_dir(&wal).unwrap();
    assert!(
        folder.refused().contains("it is missing"),
        "nothing is lost silently"
    );
    let told = said(&run(&look));
    said(&run(&named(&told, "--range")));
    let broker = folder.start();
    assert_eq!(consume(&broker, "t"), "uploaded\n");
    assert_eq!(broker.stop(), Some(0));
}

fn has_objects(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.any(|path| path.extension().is_some_and(|ending| ending == "l0") || has_objects(&path))
}

#[test]
fn only_the_damage_that_is_there_can_be_accepted() {
    let folder = Folder::new();
    let broker = folder.start();
    produce(&broker, "t", "lost-for-good");
    produce(&broker, "t", "last");
    let busy = complained(&folder.accept_loss(&["--range", "0..8"]), 75);
    assert!(busy.contains("in use"), "{busy}");
    complained(&folder.accept_loss(&[]), 75);
    broker.kill();
    let told = said(&folder.accept_loss(&[]));
    assert!(told.contains("no damage"), "{told}");
    let nothing = complained(&folder.accept_loss(&["--range", "0..8"]), 65);
    assert!(nothing.contains("nothing to accept"), "{nothing}");

    folder.damage("lost-for-good");
    let refused = folder.refused();
    let command = named(&refused, "wal accept-loss");
    let range = *command.last().unwrap();
    let (from, to) = range.split_once("..").unwrap();
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    for wrong in [
        format!("{from}..{}", to + 8),
        format!("{from}..{}", to - 8),
        format!("0..{}", u64::MAX),
    ] {
        let other = complained(&folder.accept_loss(&["--range", &wrong]), 65);
        assert!(
            other.contains(&wrong) && other.contains("nothing was changed"),
            "{other}"
        );
        assert_eq!(named(&other, "wal accept-loss"), command, "the true range");
        assert!(!folder.accepted().exists());
    }
    for wrong in [&format!("{to}..{from}"), "8", "a..b"] {
        complained(&folder.accept_loss(&["--range", wrong]), 2);
    }
    complained(&folder.accept_loss(&["--range", range, "--database"]), 2);
    complained(&folder.accept_loss(&["--shard", "1"]), 2);
    assert_eq!(folder.refused(), refused);
}

#[test]
fn an_acceptance_that_cannot_be_read_is_refused_with_the_remedy() {
    let folder = Folder::new();
    let broker = folder.start();
    produce(&broker, "t", "kept");
    broker.kill();
    std::fs::write(folder.accepted(), "anything goes\n").unwrap();
    for text in [
        folder.refused(),
        complained(&folder.accept_loss(&[]), 65),
        complained(
            &folder.accept_loss(&["--shard", "1", "--range", "0..8"]),
            65,
        ),
    ] {
        assert!(text.contains("accepted-wal-losses"), "{text}");
        assert!(text.contains("remove that file"), "{text}");
    }
    std::fs::remove_file(folder.accepted()).unwrap();
    let broker = folder.start();
    assert_eq!(consume(&broker, "t"), "kept\n");
    assert_eq!(broker.stop(), Some(0));
}
