//! From what a name server has to what it is to have: an update message (RFC 2136), with prerequisites that keep
//! it from changing what is not known. Pure.

use hickory_resolver::proto::op::{Message, OpCode, Query};
use hickory_resolver::proto::rr::rdata::{MX, TXT};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use operator_api::PublishedRecord;

use super::wanted::{Hold, Item, concerns};
use crate::domain::records::Kind;
use crate::domain::zone;

/// What a server has of one type at one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// The records.
    pub(super) records: Vec<RData>,
    /// The name is an alias.
    pub(super) alias: bool,
}

/// What to do about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is there.
    Keep,
    /// Another that does the same is there.
    Leave,
    /// To be sent.
    Write(Update),
    /// This stands in the way.
    Foreign(String),
    /// What is there is not what the wish was made of; it will be made anew.
    Wait,
}

/// The second and third section of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    prerequisites: Vec<Record>,
    updates: Vec<Record>,
}

/// Type of a record in the wire format.
pub(super) const fn wire(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Mx => RecordType::MX,
        Kind::Ptr => RecordType::PTR,
        Kind::Txt => RecordType::TXT,
    }
}

/// As records are written in the status: strings joined, names without a final dot.
pub(super) fn text(data: &RData) -> String {
    match data {
        RData::TXT(text) => String::from_utf8_lossy(&text.txt_data.concat()).into_owned(),
        RData::MX(mx) => {
            let host = mx.exchange.to_ascii().to_ascii_lowercase();
            format!("{} {}", mx.preference, host.trim_end_matches('.'))
        }
        other => other.to_string(),
    }
}

fn data(kind: Kind, value: &str) -> Option<RData> {
    match kind {
        Kind::Mx => {
            let (preference, host) = value.split_once(' ')?;
            let host = Name::from_ascii(format!("{host}.")).ok()?;
            Some(RData::MX(MX::new(preference.parse().ok()?, host)))
        }
        Kind::Txt => Some(RData::TXT(TXT::new(zone::split(value)))),
        Kind::A | Kind::Aaaa | Kind::Ptr => None,
    }
}

/// The absolute name; none where it is too long for DNS.
pub(super) fn absolute(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{name}.")).ok()
}

/// What to do that `item` comes to stand where `observed` stands. `former` is what the operator put into the zone
/// before.
pub(super) fn step(item: &Item, observed: &Observed, former: &[PublishedRecord], ttl: u32) -> Step {
    let Some((name, wished)) =
        absolute(&item.question.name).zip(data(item.question.kind, &item.value))
    else {
        return Step::Foreign(format!("{} is no name that DNS takes", item.question.name));
    };
    let title = format!("{} {}", item.question.kind.name(), item.question.name);
    if observed.alias {
        return if item.is_shown {
            Step::Leave
        } else {
            Step::Foreign(format!(
                "{title}: the name is an alias (CNAME); remove that"
            ))
        };
    }
    let is_there = |record: &RData| text(record) == item.value;
    let rivals = observed
        .records
        .iter()
        .filter(|record| !is_there(record) && concerns(item.purpose, &text(record)));
    let was_ours = |record: &RData| {
        let text = text(record);
        let mut former = former.iter();
        former.any(|known| item.is_at(known) && known.value == text)
    };
    let (removable, foreign): (Vec<&RData>, Vec<&RData>) = match &item.hold {
        Hold::Ours => rivals.partition(|record| was_ours(record)),
        Hold::Revoked => rivals.partition(|record| text(record).contains("p=")),
        Hold::Owners(seen) => {
            let mut now: Vec<String> = rivals.clone().map(text).collect();
            now.sort();
            if observed.records.iter().any(is_there) && now.is_empty() {
                return Step::Keep;
            }
            if now != *seen {
                return Step::Wait;
            }
            (rivals.collect(), Vec::new())
        }
    };
    let exists = observed.records.iter().any(is_there);
    if !foreign.is_empty() {
        return if item.is_shown {
            Step::Leave
        } else {
            Step::Foreign(format!(
                "{title} holds a record of others; remove it, or have its kind left out of spec.dns.publish.records"
            ))
        };
    }
    if exists && removable.is_empty() {
        return Step::Keep;
    }
    let mut updates: Vec<Record> = removable
        .into_iter()
        .map(|data| deletion(&name, data))
        .collect();
    if !exists {
        updates.push(Record::from_rdata(name.clone(), ttl, wished));
    }
    Step::Write(Update {
        prerequisites: prerequisites(&name, wire(item.question.kind), observed),
        updates,
    })
}

/// Takes a record away; `None` where it is gone.
pub(super) fn removal(record: &PublishedRecord, observed: &Observed) -> Option<Update> {
    let name = absolute(&record.name)?;
    let mut found = observed.records.iter();
    let data = found.find(|data| text(data) == record.value)?;
    Some(Update {
        prerequisites: Vec::new(),
        updates: vec![deletion(&name, data)],
    })
}

/// RFC 2136 section 2.5.4: this record and no other.
fn deletion(name: &Name, data: &RData) -> Record {
    let mut record = Record::from_rdata(name.clone(), 0, data.clone());
    record.dns_class = DNSClass::NONE;
    record
}

/// RFC 2136 section 2.4: exactly what was observed stands there.
fn prerequisites(name: &Name, kind: RecordType, observed: &Observed) -> Vec<Record> {
    if observed.records.is_empty() {
        let absent = |kind| {
            let mut record = Record::update0(name.clone(), 0, kind).into_record_of_rdata();
            record.dns_class = DNSClass::NONE;
            record
        };
        // An update of a name that is an alias would be passed over without a word (section 3.4.2.2).
        return [kind, RecordType::CNAME].map(absent).into();
    }
    let records = observed.records.iter();
    records
        .map(|data| Record::from_rdata(name.clone(), 0, data.clone()))
        .collect()
}

/// The message that brings `update` about in `zone`.
pub(super) fn message(zone: &Name, update: Update) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    let mut section = Query::query(zone.clone(), RecordType::SOA);
    section.set_query_class(DNSClass::IN);
    message.add_query(section);
    message.add_answers(update.prerequisites);
    message.add_authorities(update.updates);
    message
}

/// The question what the server itself has.
pub(super) fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name.clone(), kind));
    message
}

/// What the answer to [`question`] shows.
pub(super) fn observed(name: &Name, kind: RecordType, answer: &Message) -> Observed {
    let at_name = answer.answers.iter().filter(|record| record.name == *name);
    let (mut records, mut alias) = (Vec::new(), false);
    for record in at_name {
        if record.data.record_type() == kind {
            records.push(record.data.clone());
        } else if record.data.record_type() == RecordType::CNAME {
            alias = true;
        }
    }
    Observed { records, alias }
}

#[cfg(test)]
mod tests;
