//! A mail transaction: RFC 5321 section 3.3, from `MAIL` to the final dot.

use std::collections::{BTreeMap, HashSet};

use crate::address::Address;
use crate::chunking::Chunks;
use crate::command::Mail;
use crate::data::Content;
use crate::options::RecipientOptions;

use super::Message;
use super::chunks::Reply;

#[derive(Debug)]
pub(super) struct Transaction {
    mail: Mail,
    recipients: Vec<Address>,
    /// By index, of those that have any.
    options: BTreeMap<u32, RecipientOptions>,
    /// What `options` take.
    options_octets: usize,
    /// The same, to find a repeated one.
    known: HashSet<Address>,
    refused: usize,
    /// The caller is asked about it.
    pub(super) judged: Option<(Address, RecipientOptions)>,
    /// What came by `BDAT`; from the first of them on there is no `DATA` and no `RCPT`.
    pub(super) chunks: Option<Chunks>,
    /// The next chunk is refused with this: the caller refused the message between two of them.
    pub(super) put_off: Option<Reply>,
}

impl Transaction {
    pub(super) fn new(mail: Mail) -> Self {
        Self {
            mail,
            recipients: Vec::with_capacity(1),
            options: BTreeMap::new(),
            options_octets: 0,
            known: HashSet::new(),
            refused: 0,
            judged: None,
            chunks: None,
            put_off: None,
        }
    }

    pub(super) fn sender(&self) -> Option<&Address> {
        self.mail.sender.as_ref()
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.mail.size
    }

    pub(super) fn binary(&self) -> bool {
        self.mail.binary
    }

    pub(super) fn smtputf8(&self) -> bool {
        self.mail.smtputf8
    }

    pub(super) fn recipients(&self) -> usize {
        self.recipients.len()
    }

    /// One mailbox gets one copy, however often it is named; what was asked for it first counts.
    /// False when what is asked for takes more than `most` octets over all recipients.
    pub(super) fn add(
        &mut self,
        recipient: Address,
        options: RecipientOptions,
        most: usize,
    ) -> bool {
        if self.known.contains(&recipient) {
            return true;
        }
        if options != RecipientOptions::default() {
            let original = options.original.as_ref();
            let octets = original.map_or(0, |one| one.kind.len() + one.address.len());
            if self.options_octets + octets > most {
                return false;
            }
            self.options_octets += octets;
            let index = u32::try_from(self.recipients.len()).unwrap_or(u32::MAX);
            self.options.insert(index, options);
        }
        self.known.insert(recipient.clone());
        self.recipients.push(recipient);
        true
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
            binary: self.mail.binary,
            smtputf8: self.mail.smtputf8,
            content: content.bytes,
            longest_line: content.longest_line,
            options: self.mail.options,
            recipient_options: self.options,
        }
    }
}
