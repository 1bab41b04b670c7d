//! The losses of the write-ahead log that somebody accepted with `streamhouse wal accept-loss`: the file
//! `accepted-wal-losses` of the data folder.
//!
//! ```text
//! version=1
//! wal.dir.id=0f…      the WAL folder that the positions are of
//! loss=4096..8192     once for each range
//! ```
//! There is no such file as long as nothing is accepted. It is replaced as a whole, and durable before anything is told. What
//! cannot be read in every line is refused: a range that is guessed would give up records that nobody gave up.

use std::io::Read;
use std::path::PathBuf;

use streamhouse_storage::wal::{WalLoss, WalPosition};

use super::{DataDir, DataDirError, File, VERSION, write_durably};

const FILE: &str = "accepted-wal-losses";
/// Far more than all ranges that are ever damaged at the same time.
const BYTES_MAX: u64 = 64 << 10;

impl DataDir {
    /// The accepted losses, in the order in which they were accepted.
    ///
    /// # Errors
    /// [`DataDirError::Losses`] if the file is not what it should be, [`DataDirError::Unusable`] if it cannot be read.
    pub fn accepted_losses(&self) -> Result<Vec<WalLoss>, DataDirError> {
        let file = match File::open(self.losses_file()) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.unusable("read accepted-wal-losses", error)),
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.unusable("read accepted-wal-losses", error))?;
        self.decode(&bytes).map_err(|reason| DataDirError::Losses {
            path: self.path.clone(),
            file: FILE,
            reason,
        })
    }

    /// Replaces the accepted losses. When it returns, that is durable.
    ///
    /// # Errors
    /// [`DataDirError::Unusable`]; the file is the old one or the new one.
    pub fn set_accepted_losses(&self, losses: &[WalLoss]) -> Result<(), DataDirError> {
        let path = self.losses_file();
        let done = if losses.is_empty() {
            let removed = match std::fs::remove_file(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
            removed.and_then(|()| File::open(&self.path)?.sync_all())
        } else {
            write_durably(&self.path, &path, &self.encode(losses))
        };
        done.map_err(|error| self.unusable("write accepted-wal-losses", error))
    }

    fn losses_file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    fn encode(&self, losses: &[WalLoss]) -> String {
        let mut text = format!(
            "# Damage of the write-ahead log that `streamhouse wal accept-loss` accepted. Do not edit.\n\
             version={VERSION}\nwal.dir.id={:032x}\n",
            self.wal_dir
        );
        for loss in losses {
            text.push_str(&format!("loss={loss}\n"));
        }
        text
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<WalLoss>, String> {
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > BYTES_MAX {
            return Err(format!("it is longer than {BYTES_MAX} bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        if !text.ends_with('\n') {
            return Err("its last line is cut off".to_owned());
        }
        let (mut version, mut folder, mut losses) = (None, None, Vec::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.split_once('=') {
                Some(("version", value)) => version = Some(value),
                Some(("wal.dir.id", value)) => folder = u128::from_str_radix(value, 16).ok(),
                Some(("loss", value)) => {
                    let loss = parse_range(value).map_err(|why| format!("{line:?}: {why}"))?;
                    losses.push(loss);
                }
                Some(_) | None => return Err(format!("line {line:?} means nothing")),
            }
        }
        if version != Some(VERSION) {
            let version = version.unwrap_or("none");
            return Err(format!(
                "it has version {version}, this release knows version {VERSION}"
            ));
        }
        if folder != Some(self.wal_dir) {
            return Err("it was written for another data folder".to_owned());
        }
        Ok(losses)
    }
}

/// A range of WAL positions as messages show it: `FROM..TO`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_range(text: &str) -> Result<WalLoss, String> {
    let (from, to) = text
        .split_once("..")
        .ok_or("two positions with .. between are needed")?;
    let position = |text: &str| {
        // One spelling each: digits only.
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_number).map(WalPosition);
        number.ok_or_else(|| format!("{text:?} is no WAL position"))
    };
    let (from, to) = (position(from)?, position(to)?);
    if from < to {
        Ok(WalLoss { from, to })
    } else {
        Err("the first position must be below the second".to_owned())
    }
}

#[cfg(test)]
mod tests;
