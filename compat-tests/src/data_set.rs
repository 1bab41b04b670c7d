//! Real data: the package index of the machine's Debian, one stanza a record. Where there is none, the stanzas of the
//! installed packages, numbered and repeated, and the run says so.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::matrix::say;
use crate::process::output;

/// As many records as the matrix promises.
const RECORDS_MIN: usize = 60_000;

/// For the package tools to answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Records, and where they come from.
#[derive(Debug)]
pub(crate) struct DataSet {
    pub(crate) source: &'static str,
    pub(crate) records: Vec<Vec<u8>>,
}

/// The data set of this machine, read once.
pub(crate) fn get() -> Result<&'static DataSet> {
    static DATA_SET: OnceLock<Result<DataSet, String>> = OnceLock::new();
    let read = DATA_SET.get_or_init(|| {
        let read = read().map_err(|error| format!("{error:#}"))?;
        say(&format!(
            "the data set: {} records of {}",
            read.records.len(),
            read.source
        ));
        Ok(read)
    });
    read.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn read() -> Result<DataSet> {
    if let Ok(index) = output(
        "apt-cache",
        Command::new("apt-cache").arg("dumpavail"),
        &[],
        DEADLINE,
    ) {
        let records = stanzas(&index.stdout);
        if records.len() >= RECORDS_MIN {
            return Ok(DataSet {
                source: "Debian's package index",
                records,
            });
        }
    }
    let format = "${Package} ${Version}\n${Description}\n\n";
    let mut command = Command::new("dpkg-query");
    command.args(["--show", "--showformat", format]);
    let installed = stanzas(&output("dpkg-query", &mut command, &[], DEADLINE)?.stdout);
    ensure!(
        !installed.is_empty(),
        "neither apt-cache nor dpkg-query know a package"
    );
    let numbered = installed.iter().cycle().take(RECORDS_MIN).enumerate();
    let records = numbered.map(|(number, stanza)| {
        let mut record = format!("Number: {number}\n").into_bytes();
        record.extend_from_slice(stanza);
        record
    });
    Ok(DataSet {
        source: "the installed packages, repeated",
        records: records.collect(),
    })
}

/// Paragraphs, as an empty line parts them.
fn stanzas(index: &[u8]) -> Vec<Vec<u8>> {
    let mut stanzas = Vec::new();
    let mut stanza: Vec<u8> = Vec::new();
    for line in index.split_inclusive(|byte| *byte == b'\n') {
        if line == b"\n" {
            stanzas.push(std::mem::take(&mut stanza));
        } else {
            stanza.extend_from_slice(line);
        }
    }
    stanzas.push(stanza);
    stanzas.retain(|stanza| !stanza.is_empty());
    stanzas
}

/// A number that differs when one bit of one record differs, to be shown: FNV-1a over lengths and bytes.
pub(crate) fn checksum(records: &[Vec<u8>]) -> Result<u64> {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for record in records {
        let length = u32::try_from(record.len()).context("a record of more than 4 GiB")?;
        for byte in length.to_be_bytes().iter().chain(record) {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(sum)
}
