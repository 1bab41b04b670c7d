//! The harness's own hand at the port: the few requests that it needs beside the clients. It makes topics for clients that
//! cannot, and looks at the batches that lie in a partition. Old request versions without tagged fields keep it short.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const FETCH: i16 = 1;
const API_VERSIONS: i16 = 18;
const CREATE_TOPICS: i16 = 19;

/// Bytes of one fetch: the batches at the start of a partition.
const FETCH_BYTES_MAX: i32 = 1 << 20;

/// The longest answer that is believed.
const ANSWER_BYTES_MAX: u32 = 64 << 20;

const DEADLINE: Duration = Duration::from_secs(20);

/// What the head of a record batch says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// `Compression::bits` of this batch.
    pub(crate) compression: i16,
    /// -1 without idempotence.
    pub(crate) producer_id: i64,
}

/// Asks which APIs there are, the first question of every client; an error until the broker answers.
pub(crate) fn greet(bootstrap: &str) -> Result<()> {
    let answer = ask(bootstrap, API_VERSIONS, 0, &[])?;
    let code = Answer(&answer).i16()?;
    ensure!(code == 0, "ApiVersions answers error {code}");
    Ok(())
}

/// Creates a topic.
pub(crate) fn create_topic(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    configs: &BTreeMap<String, String>,
) -> Result<()> {
    let mut body = Vec::new();
    put_count(&mut body, 1)?;
    put_string(&mut body, topic)?;
    body.extend(partitions.to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    put_count(&mut body, 0)?;
    put_count(&mut body, configs.len())?;
    for (name, value) in configs {
        put_string(&mut body, name)?;
        put_string(&mut body, value)?;
    }
    body.extend(20_000_i32.to_be_bytes());
    body.push(0);
    let answer = ask(bootstrap, CREATE_TOPICS, 4, &body)?;
    let mut answer = Answer(&answer);
    answer.skip(4 + 4)?;
    answer.string()?;
    match answer.i16()? {
        0 => Ok(()),
        code => bail!("CreateTopics answers error {code} for {topic}"),
    }
}

/// The batches at the start of a partition.
pub(crate) fn batches(bootstrap: &str, topic: &str, partition: i32) -> Result<Vec<Batch>> {
    let mut body = Vec::new();
    body.extend((-1_i32).to_be_bytes());
    body.extend(1_000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(FETCH_BYTES_MAX.to_be_bytes());
    body.push(0);
    put_count(&mut body, 1)?;
    put_string(&mut body, topic)?;
    put_count(&mut body, 1)?;
    body.extend(partition.to_be_bytes());
    body.extend(0_i64.to_be_bytes());
    body.extend(FETCH_BYTES_MAX.to_be_bytes());
    let answer = ask(bootstrap, FETCH, 4, &body)?;
    let mut answer = Answer(&answer);
    answer.skip(4 + 4)?;
    answer.string()?;
    answer.skip(4 + 4)?;
    let code = answer.i16()?;
    ensure!(
        code == 0,
        "Fetch answers error {code} for {topic}-{partition}"
    );
    answer.skip(8 + 8)?;
    let aborted = answer.i32()?.max(0);
    answer.skip(usize::try_from(aborted)? * 16)?;
    let length = usize::try_from(answer.i32()?.max(0))?;
    heads(answer.take(length)?)
}

/// One number of a broker's `/metrics`.
pub(crate) fn metric(address: &str, name: &str) -> Result<f64> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    socket.read_to_string(&mut page)?;
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value
        .with_context(|| format!("no metric {name}"))?
        .trim()
        .parse()?)
}

/// The heads of whole batches; the last one may be cut short and is then left out.
fn heads(mut records: &[u8]) -> Result<Vec<Batch>> {
    const HEAD: usize = 61;
    let mut batches = Vec::new();
    while records.len() >= HEAD {
        let mut head = Answer(records);
        head.skip(8)?;
        let length = usize::try_from(head.i32()?)? + 12;
        head.skip(4 + 1 + 4)?;
        let attributes = head.i16()?;
        head.skip(4 + 8 + 8)?;
        batches.push(Batch {
            compression: attributes & 7,
            producer_id: head.i64()?,
        });
        records = records.get(length..).unwrap_or_default();
    }
    Ok(batches)
}

/// One request on a connection of its own; the body of the answer.
fn ask(bootstrap: &str, key: i16, version: i16, body: &[u8]) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(7_i32.to_be_bytes());
    put_string(&mut request, "compat-tests")?;
    request.extend_from_slice(body);
    let mut socket =
        TcpStream::connect(bootstrap).with_context(|| format!("cannot reach {bootstrap}"))?;
    socket.set_read_timeout(Some(DEADLINE))?;
    let length = u32::try_from(request.len())?;
    socket.write_all(&[&length.to_be_bytes(), request.as_slice()].concat())?;
    let mut answer = read_frame(&mut socket)?.context("the broker closed the connection")?;
    ensure!(answer.len() >= 4, "an answer without a correlation id");
    Ok(answer.split_off(4))
}

/// The next frame without its length; `None` at the end of the stream.
pub(crate) fn read_frame(socket: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match socket.read_exact(&mut length) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    }
    let length = u32::from_be_bytes(length);
    ensure!(length <= ANSWER_BYTES_MAX, "a frame of {length} bytes");
    let mut frame = vec![0; usize::try_from(length)?];
    socket.read_exact(&mut frame)?;
    Ok(Some(frame))
}

fn put_string(bytes: &mut Vec<u8>, text: &str) -> Result<()> {
    bytes.extend(i16::try_from(text.len())?.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

fn put_count(bytes: &mut Vec<u8>, count: usize) -> Result<()> {
    bytes.extend(i32::try_from(count)?.to_be_bytes());
    Ok(())
}

/// The unread rest of an answer.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .context("an answer is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip(&mut self, length: usize) -> Result<()> {
        self.take(length).map(|_| ())
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn string(&mut self) -> Result<&'a [u8]> {
        let length = self.i16()?.max(0);
        self.take(usize::try_from(length)?)
    }
}
