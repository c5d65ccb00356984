//! The content of a message by `DATA`, and how the caller has its say about any content.

use bytes::{Buf as _, BufMut as _, BytesMut};

use crate::data::{Content, DataDecoder, DataFault, Progress};

use super::{Answer, Event, Refusal, Server, State};

impl Server {
    /// Answers [`Event::Data`]: lets the data come, with room for this many octets set aside, or
    /// refuses the transaction.
    pub fn answer_data(&mut self, verdict: Result<usize, Answer>) {
        match (std::mem::replace(&mut self.state, State::Closed), verdict) {
            (State::Waiting, Ok(expected)) => {
                let decoder = DataDecoder::new(self.settings.message_bytes, expected)
                    .with_header_limit(self.settings.header_bytes);
                self.state = State::Data(decoder, None);
                self.output
                    .put_slice(b"354 send the message, end with a dot on a line of its own\r\n");
            }
            (State::Waiting, Err(answer)) => {
                self.state = State::Command;
                self.transaction = None;
                answer.write(&mut self.output);
            }
            (State::FirstChunk(chunk), verdict) => self.begin_chunks(chunk, verdict),
            (other, _) => self.state = other,
        }
    }

    /// Refuses a message while its data arrives: no more of it is kept, and `answer` is the reply
    /// to its end, or to the end of a chunk.
    pub fn refuse_data(&mut self, answer: Answer) {
        match &mut self.state {
            State::Data(decoder, refusal) => {
                decoder.discard();
                refusal.get_or_insert(answer);
            }
            State::Chunk(_) | State::Command => self.refuse_chunks(answer),
            _ => {}
        }
    }

    pub(super) fn read_data(&mut self, input: &mut BytesMut) -> Option<Event> {
        let State::Data(decoder, _) = &mut self.state else {
            return None;
        };
        match decoder.feed(input) {
            Progress::More => {
                self.content += input.len() as u64;
                input.clear();
                None
            }
            Progress::Overrun => Some(self.break_off(
                Refusal::MessageTooLarge,
                &Answer::new(552, "5.3.4", self.size_text()),
            )),
            Progress::Ended { consumed } => {
                self.content += consumed as u64;
                input.advance(consumed);
                self.end_data()
            }
        }
    }

    fn end_data(&mut self) -> Option<Event> {
        let State::Data(decoder, refusal) = std::mem::replace(&mut self.state, State::Command)
        else {
            return None;
        };
        if let Some(answer) = refusal {
            self.transaction = None;
            answer.write(&mut self.output);
            return None;
        }
        self.take_content(decoder.finish())
    }

    /// Hands a message over, or says why it is none; either way its transaction is over.
    pub(super) fn take_content(&mut self, content: Result<Content, DataFault>) -> Option<Event> {
        let transaction = self.transaction.take()?;
        match content {
            Ok(content) => {
                self.state = State::Waiting;
                Some(Event::Message(transaction.into_message(content)))
            }
            Err(fault) => Some(self.refuse_content(fault)),
        }
    }

    pub(super) fn refuse_content(&mut self, fault: DataFault) -> Event {
        match fault {
            DataFault::TooLarge => {
                Answer::new(552, "5.3.4", self.size_text()).write(&mut self.output);
                Event::Refused(Refusal::MessageTooLarge)
            }
            DataFault::HeaderTooLarge => {
                let text = format!(
                    "the header is larger than the {} octets that this relay takes",
                    self.settings.header_bytes
                );
                Answer::new(552, "5.3.4", text).write(&mut self.output);
                Event::Refused(Refusal::HeaderTooLarge)
            }
            DataFault::BareLineEnd => {
                self.say(
                    550,
                    "5.5.2",
                    "a bare CR or LF stands in the message; lines must end in CRLF",
                );
                Event::Refused(Refusal::BareLineEnd)
            }
        }
    }
}
