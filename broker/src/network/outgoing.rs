//! Answers on their way to the socket: ropes, written with one vectored call for many answers, never copied.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;

use bytes::Buf;
use streamhouse_protocol::rope::Rope;
use tokio::io::AsyncWrite;

use super::in_flight::Ticket;

/// Pieces that one write call takes (the kernel's own bound is 1024).
const PIECES_PER_WRITE: usize = 64;

/// Slots that an empty queue keeps.
const SLOTS_KEPT: usize = 4;

/// What is to be written, in order. It holds no empty rope.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    answers: VecDeque<Answer>,
}

/// The bytes of one answer that are not yet written, and what is released when they are.
#[derive(Debug)]
struct Answer {
    rope: Rope,
    _tickets: [Ticket; 2],
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Appends an answer. The tickets are dropped once its last byte is written.
    pub(super) fn push(&mut self, rope: Rope, tickets: [Ticket; 2]) {
        if !rope.is_empty() {
            self.answers.push_back(Answer {
                rope,
                _tickets: tickets,
            });
        }
    }

    /// Writes as much as the socket takes at once and returns how much that was. Cancel-safe.
    pub(super) async fn write_some<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> io::Result<usize> {
        let written = poll_fn(|cx| {
            let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
            let mut filled = 0;
            for answer in &self.answers {
                if filled == PIECES_PER_WRITE {
                    break;
                }
                filled += answer.rope.chunks_vectored(&mut slices[filled..]);
            }
            Pin::new(&mut *writer).poll_write_vectored(cx, &slices[..filled])
        })
        .await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        Ok(written)
    }

    fn advance(&mut self, written: usize) {
        let mut left = written;
        while let Some(answer) = self.answers.front_mut() {
            let length = answer.rope.len();
            if length > left {
                answer.rope.advance(left);
                return;
            }
            left -= length;
            self.answers.pop_front();
        }
        self.answers.shrink_to(SLOTS_KEPT);
    }
}
