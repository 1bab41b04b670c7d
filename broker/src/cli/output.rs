//! The one place that writes to standard output and standard error.
//!
//! Output is buffered; whoever shows something that people wait for calls [`Output::flush`]. A closed pipe is
//! [`Failure::OutputClosed`], which ends the command quietly.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::Serialize;

use super::failure::Failure;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// Where results go.
pub(super) struct Output {
    writer: BufWriter<Box<dyn Write + Send>>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Output {
    /// Standard output of this process.
    pub(super) fn stdout() -> Self {
        Self::to(Box::new(io::stdout()))
    }

    /// Any writer.
    pub(super) fn to(writer: Box<dyn Write + Send>) -> Self {
        Self {
            writer: BufWriter::with_capacity(BUFFER_BYTES, writer),
        }
    }

    /// Writes bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(Failure::output)
    }

    /// Writes a text and ends the line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a value as JSON in one line.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.writer, value)
            .map_err(|error| Failure::output(error.into()))?;
        self.bytes(b"\n")
    }

    /// Shows what was written so far.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(Failure::output)
    }

    /// Ends the output.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.flush()
    }
}

/// Tells people why the command failed.
pub(super) fn error(text: &str) {
    say("error", text);
}

/// Tells people something beside the result.
pub(super) fn note(level: &str, text: &str) {
    say(level, text);
}

fn say(level: &str, text: &str) {
    // If standard error is closed, nobody listens.
    let _ = writeln!(io::stderr().lock(), "{level}: {text}");
}

/// Whether people read standard error.
pub(super) fn error_is_terminal() -> bool {
    io::stderr().is_terminal()
}
