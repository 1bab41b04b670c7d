//! The libraries for Python: confluent-kafka (librdkafka of today, the same core as the clients of .NET, PHP and Ruby),
//! kafka-python and aiokafka, which speak the protocol themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::driver::Driver;
use super::{Client, START_DEADLINE, Session, source};
use crate::operation::Record;
use crate::process::output;

/// What is to be known of a library.
#[derive(Debug)]
pub(super) struct Library {
    name: &'static str,
    title: &'static str,
    /// Prints its version.
    version: &'static str,
    /// Its driver.
    program: &'static str,
    /// Of so many records of the data set it is sent one in a default run.
    data_set_part: usize,
    limitation: fn(&str) -> Option<&'static str>,
    remark: fn(&str) -> Option<&'static str>,
    sends: fn(&Record) -> bool,
}

pub(super) const CONFLUENT_KAFKA: Library = Library {
    name: "confluent-kafka",
    title: "confluent-kafka (Python, librdkafka)",
    version: "import confluent_kafka as c; print(c.__version__, 'librdkafka', c.libversion()[0])",
    program: "python/driver.py",
    data_set_part: 1,
    limitation: |_| None,
    remark: |_| None,
    sends: |_| true,
};

pub(super) const KAFKA_PYTHON: Library = Library {
    name: "kafka-python",
    title: "kafka-python (Python)",
    version: "import kafka; print(kafka.__version__)",
    program: "python/kafka_python_driver.py",
    data_set_part: 10,
    limitation: super::joins_classic_only,
    remark: |scenario| match scenario {
        "headers" => Some("kafka-python sends no header whose value is null"),
        "data-set" | "data-set-after-kill" | "data-set-from-objects" => Some(A_TENTH),
        "nulls" => Some(NEITHER_KEY_NOR_VALUE),
        _ => None,
    },
    sends: |record| {
        let headers = &record.headers;
        has_key_or_value(record) && headers.iter().all(|header| header.value.is_some())
    },
};

pub(super) const AIOKAFKA: Library = Library {
    name: "aiokafka",
    title: "aiokafka (Python)",
    version: "import aiokafka; print(aiokafka.__version__)",
    program: "python/aiokafka_driver.py",
    data_set_part: 10,
    limitation: |scenario| match scenario {
        "unknown-topic" => Some("aiokafka asks for the topic to be created when it describes it"),
        "delete-group" => Some("aiokafka has no call that deletes a group"),
        _ => super::joins_classic_only(scenario),
    },
    remark: |scenario| match scenario {
        "nulls" => Some(NEITHER_KEY_NOR_VALUE),
        "data-set" | "data-set-after-kill" | "data-set-from-objects" => Some(A_TENTH),
        _ => None,
    },
    sends: has_key_or_value,
};

fn has_key_or_value(record: &Record) -> bool {
    record.key.is_some() || record.value.is_some()
}

const NEITHER_KEY_NOR_VALUE: &str =
    "kafka-python and aiokafka send no record that has neither key nor value";
const A_TENTH: &str = "clients that do everything in Python send a tenth of it in every build, all of it with `STREAMHOUSE_TEST_SCALE=10`";

#[derive(Debug)]
pub(super) struct Python {
    library: Library,
    python: PathBuf,
}

impl Python {
    pub(super) fn new(cache: &Path, library: Library) -> Self {
        Self {
            library,
            python: super::python(cache),
        }
    }
}

impl Client for Python {
    fn name(&self) -> &'static str {
        self.library.name
    }

    fn title(&self) -> &'static str {
        self.library.title
    }

    fn prepare(&mut self) -> Result<String> {
        let told = output(
            "python",
            Command::new(&self.python).args(["-c", self.library.version]),
            &[],
            START_DEADLINE,
        )?;
        ensure!(
            told.status.success(),
            "{} is not installed: {}",
            self.name(),
            told.stderr.trim()
        );
        Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    }

    fn limitation(&self, scenario: &str) -> Option<&'static str> {
        (self.library.limitation)(scenario)
    }

    fn remark(&self, scenario: &str) -> Option<&'static str> {
        (self.library.remark)(scenario)
    }

    fn data_set_part(&self) -> usize {
        self.library.data_set_part
    }

    fn open(&self, bootstrap: &str, folder: &Path) -> Result<Box<dyn Session>> {
        let mut command = Command::new(&self.python);
        // Nothing is written beside the drivers.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let driver = Driver::start(
            self.name(),
            command.arg(source(self.library.program)),
            bootstrap,
            folder,
        )?;
        Ok(Box::new(driver.sending(self.library.sends)))
    }
}
