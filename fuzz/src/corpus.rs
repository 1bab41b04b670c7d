//! Where inputs begin: frames that were recorded from Apache Kafka, batches that foreign encoders wrote, and requests that
//! are made here for the APIs and versions that nobody recorded.

use std::fs;
use std::path::{Path, PathBuf};

use streamhouse_protocol::api_key::{self, ApiKey};
use streamhouse_protocol::guard::{self, Problem};

use crate::draw::Draw;

/// One exchange with Kafka; frames have no size prefix.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The API.
    pub api: ApiKey,
    /// The version in which the answer is.
    pub version: i16,
    /// The request, with its header.
    pub request: Vec<u8>,
    /// The answer, with its header.
    pub response: Vec<u8>,
}

/// All exchanges, in the order of the files' names. Those whose version does not exist are left out.
///
/// # Panics
/// If the recordings are not there.
#[must_use]
pub fn exchanges() -> Vec<Exchange> {
    let mut all = Vec::new();
    for path in files(&sources().join("protocol/tests/golden"), "txt") {
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let api = every_api().find(|api| Some(api_key::name(*api)) == name);
        let api = api.expect("a recording is named after its API");
        let text = fs::read_to_string(&path).expect("recordings are text");
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        for pair in lines.chunks_exact(2) {
            let version = pair[0][0].parse().expect("versions are numbers");
            if pair[0][1] != "unsupported" {
                all.push(Exchange {
                    api,
                    version,
                    request: hexadecimal(pair[0][3]),
                    response: hexadecimal(pair[1][3]),
                });
            }
        }
    }
    all
}

/// Record batches that other encoders wrote.
///
/// # Panics
/// If they are not there.
#[must_use]
pub fn foreign_batches() -> Vec<Vec<u8>> {
    let folder = sources().join("protocol/tests/fixtures/record_batches");
    let paths = files(&folder, "batch").into_iter();
    paths
        .map(|path| fs::read(path).expect("a fixture can be read"))
        .collect()
}

/// What once went wrong in `target`: names and inputs.
///
/// # Panics
/// If a file that is there cannot be read.
#[must_use]
pub fn regressions(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let paths = files(&folder.join(target), "").into_iter();
    paths
        .map(|path| {
            let bytes = fs::read(&path).expect("a regression can be read");
            (path.display().to_string(), bytes)
        })
        .collect()
}

/// Every API that the codec knows.
pub fn every_api() -> impl Iterator<Item = ApiKey> {
    (0..100).filter_map(|key| ApiKey::try_from(key).ok())
}

/// The top of the checkout.
#[must_use]
pub fn sources() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent()
        .expect("this crate lies in the checkout")
        .to_path_buf()
}

/// The files of a folder with this ending (any, if it is empty), in the order of their names.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| ending.is_empty() || path.extension().is_some_and(|found| found == ending));
    paths.sort();
    paths
}

fn hexadecimal(text: &str) -> Vec<u8> {
    let digit = |d: u8| {
        let digit = char::from(d)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok());
        digit.expect("frames are hexadecimal")
    };
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// A request of every API in every version: the frame guard says byte by byte what is still missing, and so also what a
/// request looks like. `variety` chooses what is filled in where it leaves a choice.
#[must_use]
pub fn composed_requests(variety: u64) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    for api in every_api() {
        for version in api_key::versions(api) {
            let mut draw = Draw::new(variety ^ (api as u64) << 32 ^ version.cast_unsigned() as u64);
            let body = composed_body(api, version, &mut draw);
            let mut frame = header(api, version);
            frame.extend(body.unwrap_or_default());
            requests.push(frame);
        }
    }
    requests
}

/// A body of at most about this many bytes.
const BODY_MAX: usize = 600;

fn composed_body(api: ApiKey, version: i16, draw: &mut Draw) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for _ in 0..2 * BODY_MAX {
        match guard::check(api as i16, version, &body) {
            Ok(()) => return Some(body),
            Err(error) => match error.problem {
                Problem::Truncated { .. } | Problem::CountTooLarge { .. } => {
                    // Mostly zeros: they end arrays and texts; now and then an element, a letter, a tagged field.
                    let byte = if body.len() < BODY_MAX / 2 && draw.one_in(6) {
                        *draw.pick(&[1, 2, 2, 3])
                    } else {
                        0
                    };
                    body.push(byte);
                }
                // What was pushed last is what is wrong: the walk goes in order.
                Problem::Null | Problem::Presence { .. } | Problem::TagOfAnotherVersion => {
                    let last = body.last_mut()?;
                    *last = u8::from(*last == 0);
                }
                Problem::UnknownShape
                | Problem::Negative { .. }
                | Problem::TextTooLong { .. }
                | Problem::NotUtf8
                | Problem::VarintTooLong
                | Problem::Trailing { .. }
                | Problem::DecodedTooLarge { .. } => return None,
            },
        }
    }
    None
}

/// The header of a request, without a client id.
#[must_use]
pub fn header(api: ApiKey, version: i16) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend((api as i16).to_be_bytes());
    header.extend(version.to_be_bytes());
    header.extend(7_i32.to_be_bytes());
    match api.request_header_version(version) {
        0 => {}
        1 => header.extend((-1_i16).to_be_bytes()),
        _ => header.extend([0xff, 0xff, 0]),
    }
    header
}
