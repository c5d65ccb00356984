//! Which route a recipient of a message takes. Pure.
//!
//! Routes stand in order and the first that matches wins. A route may depend on the MX hosts of the
//! recipient's domain, which only an attempt knows. The queue therefore groups by what is known when
//! a message comes in: a route that is certain by then gives the destination its name, and otherwise
//! all mail that has the same routes to choose from at the same domain is one destination, since it
//! will go the same way.

use relay_config::{Config, NULL_SENDER};
use relay_queue::{Destination, Envelope};
use relay_smtp::Address;

use super::plan::Exchanger;

/// Place of a route in the configuration; `None` is for what no route matches.
pub(super) type RouteNumber = Option<usize>;

/// What routes look at, but for the MX hosts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Domain or address literal.
    pub(super) recipient: &'a str,
    /// Domain of the envelope's sender; `None` for reports.
    pub(super) sender: Option<&'a str>,
    pub(super) tag: Option<&'a str>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(envelope: &'a Envelope, recipient: &'a Address) -> Self {
        Self {
            recipient: recipient.domain(),
            sender: envelope.sender.as_ref().map(Address::domain),
            tag: envelope.options.tag.as_deref(),
        }
    }
}

/// Which recipients of one message go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// To the smarthosts of a route, whatever the domain.
    Smarthosts(RouteNumber),
    /// To the MX hosts of a domain, or to a literal, by a route.
    Exchangers(RouteNumber, &'a str),
    /// The MX hosts of this domain decide on the route.
    Undecided(&'a str),
}

/// The routes of a configuration.
pub(crate) struct Routes {
    routes: Vec<Route>,
    /// Those of the mail that no route matches go to smarthosts.
    smarthosts: Option<Destination>,
}

struct Route {
    name: Box<str>,
    recipients: Vec<Domains>,
    senders: Vec<Sender>,
    exchangers: Vec<Box<str>>,
    tags: Vec<Box<str>>,
    /// Name of the destination that all of its mail has, if it has smarthosts.
    smarthosts: Option<Destination>,
}

/// Domains that an entry names.
enum Domains {
    One(Box<str>),
    /// All below this one.
    Below(Box<str>),
}

enum Sender {
    Null,
    Of(Domains),
}

impl Routes {
    pub(crate) fn new(config: &Config) -> Self {
        let delivery = &config.delivery;
        let routes = delivery.routes.iter().map(|route| Route {
            name: route.name.as_str().into(),
            recipients: each(&route.recipient_domains, domains),
            senders: each(&route.sender_domains, sender),
            exchangers: each(&route.mx_suffixes, |text| text.into()),
            tags: each(&route.tags, |text| text.into()),
            smarthosts: (!route.smarthosts.is_empty())
                .then(|| format!("route {}", route.name).into()),
        });
        Self {
            routes: routes.collect(),
            smarthosts: (!delivery.smarthosts.is_empty()).then(|| "smarthost".into()),
        }
    }

    /// The routes that may be taken, best first: all but the last depend on MX hosts.
    fn candidates<'a>(&'a self, asked: Asked<'a>) -> impl Iterator<Item = RouteNumber> + 'a {
        let is_literal = asked.recipient.starts_with('[');
        let mut certain = false;
        let matching = (0..self.routes.len()).filter(move |number| {
            let route = &self.routes[*number];
            route.matches(asked) && (route.exchangers.is_empty() || !is_literal)
        });
        let all = matching.map(Some).chain(std::iter::once(None));
        all.take_while(move |number| !std::mem::replace(&mut certain, self.is_certain(*number)))
    }

    fn is_certain(&self, number: RouteNumber) -> bool {
        self.route(number)
            .is_none_or(|route| route.exchangers.is_empty())
    }

    fn route(&self, number: RouteNumber) -> Option<&Route> {
        number.and_then(|number| self.routes.get(number))
    }

    /// The one destination of all mail of a route with smarthosts.
    fn smarthosts(&self, number: RouteNumber) -> Option<&Destination> {
        match self.route(number) {
            Some(route) => route.smarthosts.as_ref(),
            None => self.smarthosts.as_ref(),
        }
    }

    /// Which way a recipient goes, as far as that is known without its MX hosts.
    pub(super) fn way<'a>(&self, asked: Asked<'a>) -> Way<'a> {
        let first = self.candidates(asked).next().flatten();
        if !self.is_certain(first) {
            return Way::Undecided(asked.recipient);
        }
        match self.smarthosts(first) {
            Some(_) => Way::Smarthosts(first),
            None => Way::Exchangers(first, asked.recipient),
        }
    }

    /// The way of a recipient whose domain has these preferred MX hosts; none for a domain that does
    /// not exist or takes no mail.
    pub(super) fn decide<'a>(&self, asked: Asked<'a>, exchangers: &[Exchanger]) -> Way<'a> {
        let best = exchangers.iter().map(|one| one.preference).min();
        let is_preferred = |one: &&Exchanger| Some(one.preference) == best;
        let fits = |suffixes: &[Box<str>]| {
            let mut preferred = exchangers.iter().filter(is_preferred);
            preferred.any(|one| suffixes.iter().any(|suffix| ends_in(&one.host, suffix)))
        };
        let mut candidates = self.candidates(asked);
        let number = candidates.find(|number| match self.route(*number) {
            Some(route) => route.exchangers.is_empty() || fits(&route.exchangers),
            None => true,
        });
        let number = number.flatten();
        match self.smarthosts(number) {
            Some(_) => Way::Smarthosts(number),
            None => Way::Exchangers(number, asked.recipient),
        }
    }

    /// The name of the destination of a recipient: what shares connections and limits.
    pub(super) fn destination(&self, asked: Asked<'_>) -> Destination {
        match self.way(asked) {
            Way::Smarthosts(number) => self.smarthosts(number).cloned().unwrap_or_default(),
            Way::Exchangers(None, domain) => domain.into(),
            Way::Exchangers(number, domain) => self.via(domain, std::iter::once(number)),
            Way::Undecided(domain) => self.via(domain, self.candidates(asked)),
        }
    }

    fn via(&self, domain: &str, numbers: impl Iterator<Item = RouteNumber>) -> Destination {
        let names: Vec<&str> = numbers
            .map(|number| self.route(number).map_or("default", |route| &route.name))
            .collect();
        format!("{domain} via {}", names.join(" or ")).into()
    }
}

impl Route {
    fn matches(&self, asked: Asked<'_>) -> bool {
        let recipient = |one: &Domains| one.has(asked.recipient);
        let sender = |one: &Sender| one.has(asked.sender);
        (self.recipients.is_empty() || self.recipients.iter().any(recipient))
            && (self.senders.is_empty() || self.senders.iter().any(sender))
            && (self.tags.is_empty() || self.tags.iter().any(|one| asked.tag == Some(one)))
    }
}

impl Domains {
    fn has(&self, domain: &str) -> bool {
        match self {
            Self::One(name) => **name == *domain,
            Self::Below(name) => *domain != **name && ends_in(domain, name),
        }
    }
}

impl Sender {
    fn has(&self, sender: Option<&str>) -> bool {
        match (self, sender) {
            (Self::Null, None) => true,
            (Self::Of(domains), Some(domain)) => domains.has(domain),
            _ => false,
        }
    }
}

fn domains(text: &str) -> Domains {
    match text.strip_prefix("*.") {
        Some(name) => Domains::Below(name.into()),
        None => Domains::One(text.into()),
    }
}

fn sender(text: &str) -> Sender {
    if text == NULL_SENDER {
        Sender::Null
    } else {
        Sender::Of(domains(text))
    }
}

fn each<T>(texts: &[String], make: impl Fn(&str) -> T) -> Vec<T> {
    texts.iter().map(|text| make(text)).collect()
}

/// Whether `name` is `suffix` or lies below it.
fn ends_in(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
