//! What the machine offers to the tests beyond Rust: the clients of the compatibility matrix.

use crate::run;

/// Something that some test needs and a machine may lack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capability {
    /// What it is.
    pub(crate) name: &'static str,
    /// Which tests are left out without it.
    pub(crate) used_by: &'static str,
    /// How to get it.
    pub(crate) remedy: &'static str,
    probe: fn() -> bool,
}

/// The one list of capabilities.
pub(crate) const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "kcat",
        used_by: "compat-tests: kcat (librdkafka of Debian)",
        remedy: "apt-get install kcat",
        probe: || run::exists("kcat", &["-V"]),
    },
    Capability {
        name: "confluent-kafka for Python",
        used_by: "compat-tests: librdkafka of today",
        remedy: "pip install confluent-kafka",
        probe: || run::exists("python3", &["-c", "import confluent_kafka"]),
    },
];

impl Capability {
    /// Whether this machine has it.
    pub(crate) fn is_there(&self) -> bool {
        (self.probe)()
    }
}
