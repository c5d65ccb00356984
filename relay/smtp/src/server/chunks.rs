//! `BDAT`: RFC 3030 section 2.
//!
//! The octets of a chunk are read whatever becomes of it, and the reply comes after them (section
//! 4.2), or they would be run as commands. When a chunk is refused its transaction is over, and what
//! the client had pipelined after it is answered 503 without being held against it. A session whose
//! place in the stream is lost, or that sends on and on for nothing, ends.

use bytes::{Buf as _, BytesMut};

use crate::chunking::Chunks;
use crate::command::CommandError;
use crate::data::overrun;

use super::{Answer, Event, Refusal, Server, State};

/// A chunk that is being read.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Octets to come.
    left: u64,
    last: bool,
    /// The reply, when it is known before the octets are there and they are of no use.
    refusal: Option<Reply>,
}

/// A reply that waits for the end of its chunk.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    answer: Answer,
    /// The client did what it should have known better.
    is_fault: bool,
    refusal: Option<Refusal>,
}

impl Reply {
    fn fault(answer: Answer) -> Self {
        Self {
            answer,
            is_fault: true,
            refusal: None,
        }
    }
}

impl Server {
    pub(super) fn chunk(&mut self, size: u64, last: Result<bool, CommandError>) -> Option<Event> {
        if size > overrun(self.settings.message_bytes) {
            return Some(self.break_off(
                Refusal::MessageTooLarge,
                &Answer::new(552, "5.3.4", format!("{}; closing", self.size_text())),
            ));
        }
        let refusal = self.judge_chunk(size, &last);
        let is_refused = refusal.is_some();
        let chunk = Chunk {
            left: size,
            last: last.unwrap_or_default(),
            refusal,
        };
        if is_refused {
            return self.swallow(chunk);
        }
        let transaction = self.transaction.as_ref()?;
        if transaction.chunks.is_some() {
            self.state = State::Chunk(chunk);
            return None;
        }
        let size = transaction.size().unwrap_or_default().max(size);
        self.state = State::FirstChunk(chunk);
        Some(Event::Data { size: Some(size) })
    }

    /// Why a chunk is of no use.
    fn judge_chunk(&mut self, size: u64, last: &Result<bool, CommandError>) -> Option<Reply> {
        let Some(transaction) = &self.transaction else {
            let (answer, is_fault) = self.why_out_of_order();
            return Some(Reply {
                answer,
                is_fault,
                refusal: None,
            });
        };
        if let Err(error) = last {
            return Some(Reply::fault(error.clone().into()));
        }
        if transaction.put_off.is_some() {
            return transaction.put_off.clone();
        }
        if transaction.recipients() == 0 {
            return Some(Reply {
                answer: super::commands::NO_RECIPIENT,
                is_fault: false,
                refusal: None,
            });
        }
        let fits = match &transaction.chunks {
            Some(chunks) => chunks.would_fit(size),
            None => size <= self.settings.message_bytes,
        };
        (!fits).then(|| Reply {
            answer: Answer::new(552, "5.3.4", self.size_text()),
            is_fault: false,
            refusal: Some(Refusal::MessageTooLarge),
        })
    }

    /// Reads a chunk that is of no use, unless there have been too many of them.
    fn swallow(&mut self, chunk: Chunk) -> Option<Event> {
        self.wasted = self.wasted.saturating_add(chunk.left);
        if self.wasted > overrun(self.settings.message_bytes) {
            return Some(self.break_off(
                Refusal::TooManyFaults,
                &Answer::fixed(
                    421,
                    "4.7.0",
                    "too much was sent after a refused BDAT; closing",
                ),
            ));
        }
        if self.transaction.take().is_some() {
            self.mail_refused = true;
        }
        self.state = State::Chunk(chunk);
        None
    }

    /// What [`Server::answer_data`] does for a first chunk.
    pub(super) fn begin_chunks(&mut self, mut chunk: Chunk, verdict: Result<usize, Answer>) {
        match (verdict, &mut self.transaction) {
            (Ok(expected), Some(transaction)) => {
                let binary = transaction.binary();
                transaction.chunks = Some(
                    Chunks::new(self.settings.message_bytes, expected, binary)
                        .with_header_limit(self.settings.header_bytes),
                );
            }
            (Ok(_), None) => {}
            (Err(answer), _) => {
                self.transaction = None;
                self.mail_refused = true;
                chunk.refusal = Some(Reply {
                    answer,
                    is_fault: false,
                    refusal: None,
                });
            }
        }
        self.state = State::Chunk(chunk);
    }

    /// What [`Server::refuse_data`] does for chunks. Between two of them it is the next that is
    /// refused: the reply to the one before is out.
    pub(super) fn refuse_chunks(&mut self, answer: Answer) {
        let refusal = Some(Reply {
            answer,
            is_fault: false,
            refusal: None,
        });
        match (&mut self.state, &mut self.transaction) {
            (State::Chunk(chunk), Some(_)) => {
                chunk.refusal = refusal;
                self.transaction = None;
                self.mail_refused = true;
            }
            (_, Some(transaction)) => {
                if transaction.chunks.take().is_some() {
                    transaction.put_off = refusal;
                }
            }
            (_, None) => {}
        }
    }

    /// Whether nothing is left to read of a chunk but its end has still to be seen to.
    pub(super) fn chunk_is_over(&self) -> bool {
        matches!(self.state, State::Chunk(Chunk { left: 0, .. }))
    }

    pub(super) fn read_chunk(&mut self, input: &mut BytesMut) -> Option<Event> {
        let State::Chunk(chunk) = &mut self.state else {
            return None;
        };
        let length = usize::try_from(chunk.left)
            .unwrap_or(usize::MAX)
            .min(input.len());
        chunk.left -= length as u64;
        self.content += length as u64;
        if chunk.refusal.is_none()
            && let Some(transaction) = &mut self.transaction
            && let Some(chunks) = &mut transaction.chunks
        {
            chunks.feed(&input[..length]);
        }
        input.advance(length);
        if chunk.left > 0 {
            return None;
        }
        self.end_chunk()
    }

    fn end_chunk(&mut self) -> Option<Event> {
        let State::Chunk(chunk) = std::mem::replace(&mut self.state, State::Command) else {
            return None;
        };
        if let Some(reply) = chunk.refusal {
            if reply.is_fault {
                return self.fault(&reply.answer);
            }
            reply.answer.write(&mut self.output);
            return reply.refusal.map(Event::Refused);
        }
        let chunks = &mut self.transaction.as_mut()?.chunks;
        if chunk.last {
            let content = chunks.take()?.finish();
            return self.take_content(content);
        }
        if let Some(fault) = chunks.as_ref()?.fault() {
            self.transaction = None;
            self.mail_refused = true;
            return Some(self.refuse_content(fault));
        }
        self.say(250, "2.0.0", "chunk ok");
        None
    }
}
