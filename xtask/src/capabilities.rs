//! What the machine offers to the tests beyond Rust: the clients of the compatibility matrix, a database server, disks that fail.

use std::path::PathBuf;

use crate::containers;
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
        used_by: "compat-tests: kcat",
        remedy: "apt-get install kcat",
        probe: || run::exists("kcat", &["-V"]),
    },
    Capability {
        name: "confluent-kafka, kafka-python and aiokafka for Python",
        used_by: "compat-tests: confluent-kafka, kafka-python, aiokafka, versions",
        remedy: "with Python 3: bash .ci/install-clients",
        probe: || is_installed("python"),
    },
    Capability {
        name: "Apache Kafka's Java clients and console tools",
        used_by: "compat-tests: java, console tools, versions, members",
        remedy: "with a JDK (17 or later) and Maven: bash .ci/install-clients",
        probe: || is_installed("java") && run::exists("javac", &["-version"]),
    },
    Capability {
        name: "franz-go, sarama and kafka-go",
        used_by: "compat-tests: franz-go, sarama, kafka-go",
        remedy: "with Go (1.26 or later): bash .ci/install-clients",
        probe: || is_installed("go") && run::exists("go", &["version"]),
    },
    Capability {
        name: "kafkajs",
        used_by: "compat-tests: kafkajs",
        remedy: "with Node.js (18 or later) and npm: bash .ci/install-clients",
        probe: || is_installed("node") && run::exists("node", &["--version"]),
    },
    Capability {
        name: "confluent-kafka-javascript",
        used_by: "compat-tests: confluent-js",
        remedy: "with Node.js (18 or later), npm and a compiler for C++: bash .ci/install-clients",
        probe: || is_installed("node-confluent") && run::exists("node", &["--version"]),
    },
    Capability {
        name: "rdkafka",
        used_by: "compat-tests: rdkafka",
        remedy: "with a compiler for C: bash .ci/install-clients",
        probe: || is_installed("rust"),
    },
    Capability {
        name: "PostgreSQL (13 or later)",
        used_by: "metadata: the laws and faults of PostgreSQL; broker/tests/cluster: three brokers; compat-tests: members; broker/tests/docker: the compose file",
        remedy: "apt-get install postgresql",
        probe: || run::exists("sh", &["-c", FIND_POSTGRES]),
    },
    Capability {
        name: "hadolint and dclint",
        used_by: "lints of docker/Dockerfile and docker/compose.yaml",
        remedy: "with Python 3, Node.js (20 or later) and npm: bash .ci/install-clients",
        probe: || containers::linters().is_some(),
    },
    Capability {
        name: "loop-mounted file systems and injected system call errors",
        used_by: "broker/tests/disk: power cuts, kills, disk errors, full disks",
        remedy: "as root, with loop devices: apt-get install e2fsprogs strace perl",
        probe: || {
            run::exists("losetup", &["--find"])
                && run::exists("mkfs.ext4", &["-V"])
                && run::exists("strace", &["-V"])
                && run::exists("perl", &["-v"])
        },
    },
];

/// Debian keeps the programs of PostgreSQL outside of the search path.
const FIND_POSTGRES: &str = "ls /usr/lib/postgresql/*/bin/initdb || command -v initdb";

impl Capability {
    /// Whether this machine has it.
    pub(crate) fn is_there(&self) -> bool {
        (self.probe)()
    }
}

/// Whether `.ci/install-clients` has finished with a client, as its stamp tells.
fn is_installed(client: &str) -> bool {
    installed(client).is_some()
}

/// The folder in which `.ci/install-clients` has installed something, if it has finished.
pub(crate) fn installed(client: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let clients = cache?.join("streamhouse/clients");
    let is_finished = clients.join(format!("{client}.installed")).is_file();
    is_finished.then(|| clients.join(client))
}
