//! A mail transaction: RFC 5321 section 3.3, from `MAIL` to the final dot.

use std::collections::HashSet;

use crate::address::Address;
use crate::command::Mail;
use crate::data::Content;

use super::Message;

#[derive(Debug)]
pub(super) struct Transaction {
    mail: Mail,
    recipients: Vec<Address>,
    /// The same, to find a repeated one.
    known: HashSet<Address>,
    refused: usize,
}

impl Transaction {
    pub(super) fn new(mail: Mail) -> Self {
        Self {
            mail,
            recipients: Vec::with_capacity(1),
            known: HashSet::new(),
            refused: 0,
        }
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.mail.size
    }

    pub(super) fn smtputf8(&self) -> bool {
        self.mail.smtputf8
    }

    pub(super) fn recipients(&self) -> usize {
        self.recipients.len()
    }

    /// One mailbox gets one copy, however often it is named.
    pub(super) fn add(&mut self, recipient: Address) {
        if self.known.insert(recipient.clone()) {
            self.recipients.push(recipient);
        }
    }

    /// Counts one more refused recipient and returns how many there are.
    pub(super) fn refuse(&mut self) -> usize {
        self.refused += 1;
        self.refused
    }

    pub(super) fn into_message(self, content: Content) -> Message {
        Message {
            sender: self.mail.sender,
            recipients: self.recipients,
            eight_bit: self.mail.eight_bit,
            smtputf8: self.mail.smtputf8,
            content: content.bytes,
            longest_line: content.longest_line,
        }
    }
}
