//! Unpacks the records of a batch as a stream, with a hard bound on what comes out.

use std::fmt;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;

use super::lz4::first_frame;
use super::snappy::Snappy;
use super::{Compression, DecompressionError, Limits};

/// The largest zstd window that is accepted: 2^23 = 8 MiB, which every level up to 19 stays within. A larger window
/// would be allocated on the word of the frame's header.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A stream of unpacked bytes. After the first error, and after the end, it gives no more bytes.
pub struct Decompressor<'a> {
    stream: Stream<'a>,
    compression: Compression,
    input: usize,
    output: usize,
    output_max: usize,
}

enum Stream<'a> {
    None(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(Snappy<'a>),
    Lz4(Box<FrameDecoder<&'a [u8]>>),
    Zstd(zstd::stream::read::Decoder<'static, &'a [u8]>),
    Ended,
}

impl<'a> Decompressor<'a> {
    /// Begins to unpack `input`. Input that is not compressed has no limit: it is there already.
    pub fn new(
        compression: Compression,
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Self, DecompressionError> {
        let damaged = |detail: String| DecompressionError::Damaged {
            compression,
            detail,
        };
        let stream = match compression {
            Compression::None => Stream::None(input),
            Compression::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Snappy => Stream::Snappy(Snappy::new(input).map_err(damaged)?),
            Compression::Lz4 => {
                let frame = first_frame(input).map_err(|detail| damaged(detail.to_owned()))?;
                Stream::Lz4(Box::new(FrameDecoder::new(frame)))
            }
            Compression::Zstd => {
                Stream::Zstd(zstd(input).map_err(|error| damaged(error.to_string()))?)
            }
        };
        let output_max = match compression {
            Compression::None => input.len(),
            Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
                limits.output_max(input.len())
            }
        };
        Ok(Self {
            stream,
            compression,
            input: input.len(),
            output: 0,
            output_max,
        })
    }

    /// The most bytes that this stream will give.
    #[must_use]
    pub const fn output_max(&self) -> usize {
        self.output_max
    }

    /// Fills the beginning of `buffer` and returns how much of it; 0 at the end of the stream. The limit is an error
    /// as soon as one byte exceeds it, never a silent end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DecompressionError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let left = self.output_max - self.output;
        // One more than is left: the excess must be seen, or it would look like the end.
        let wanted = buffer.len().min(left.saturating_add(1));
        let read = match self.read_some(&mut buffer[..wanted], left) {
            Ok(read) if read <= left => read,
            Ok(_) => {
                self.stream = Stream::Ended;
                return Err(self.too_large());
            }
            Err(error) => {
                self.stream = Stream::Ended;
                return Err(error);
            }
        };
        if read == 0 {
            // A decoder is not asked again behind its end.
            self.stream = Stream::Ended;
        }
        self.output += read;
        Ok(read)
    }

    fn read_some(&mut self, buffer: &mut [u8], left: usize) -> Result<usize, DecompressionError> {
        let compression = self.compression;
        let damaged = |detail: String| DecompressionError::Damaged {
            compression,
            detail,
        };
        let read = match &mut self.stream {
            Stream::None(input) => input.read(buffer),
            Stream::Gzip(decoder) => decoder.read(buffer),
            Stream::Lz4(decoder) => decoder.read(buffer),
            Stream::Zstd(decoder) => decoder.read(buffer),
            Stream::Snappy(decoder) => {
                if !decoder.fill(left).map_err(damaged)? {
                    return Err(self.too_large());
                }
                Ok(decoder.read(buffer))
            }
            Stream::Ended => Ok(0),
        };
        read.map_err(|error| damaged(error.to_string()))
    }

    fn too_large(&self) -> DecompressionError {
        DecompressionError::TooLarge {
            compression: self.compression,
            input: self.input,
            output_max: self.output_max,
        }
    }
}

impl fmt::Debug for Decompressor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("compression", &self.compression)
            .field("input", &self.input)
            .field("output", &self.output)
            .field("output_max", &self.output_max)
            .finish_non_exhaustive()
    }
}

fn zstd(input: &[u8]) -> io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}
