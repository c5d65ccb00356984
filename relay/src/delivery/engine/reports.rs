//! TLS reports are made and sent when they are due (RFC 8460).

mod post;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hyper::StatusCode;
use relay_config::TlsReports as Settings;
use relay_queue::{AppendError, MessageId, Timestamp};
use relay_smtp::Address;

use super::Engine;
use crate::context::{Context, now};
use crate::siblings::{self, SiblingError};
use crate::signing;
use crate::snapshot::{SendingDomain, Snapshot};
use crate::tls_reports::{
    self, Day, Document, HANDED_IN, HandedIn, Letter, Place, Policies, Submitter,
};

/// Between two looks at what is due.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two writes of what was counted.
const FLUSH: Duration = Duration::from_mins(1);
/// For the last hand-in.
const LAST: Duration = Duration::from_secs(2);
/// Reports that are sent at a time.
const CONCURRENCY: usize = 8;
/// Reports of one look.
const AT_ONCE: usize = 50;

/// Why a report was not sent now.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("where it is to go is not known: {0}")]
    Resolve(#[from] super::super::resolve::ResolveError),
    #[error(
        "delivery.reports.tls.from: {0} is not of a sending domain of this relay that has DKIM keys; \
         receivers ignore reports without a signature"
    )]
    Unsigned(String),
    #[error("it could not be signed")]
    Signature,
    #[error("it could not be made: {0}")]
    Build(String),
    #[error("it could not be queued: {0}")]
    Queue(#[from] AppendError),
    #[error("it could not be written down: {0}")]
    Disk(#[from] std::io::Error),
    #[error("a part of the relay ended badly: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// In whose name reports are sent.
struct Author {
    from: Address,
    submitter: Submitter,
    domain: Arc<SendingDomain>,
}

impl Engine {
    /// Reports for as long as it is let.
    pub(super) async fn report_tls(self: Arc<Self>) {
        // Places that take their time hold up no write.
        let flushing = async {
            loop {
                tokio::time::sleep(FLUSH).await;
                self.flush_tls_reports().await;
            }
        };
        let sending = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                if self.context.place().is_first() {
                    self.send_tls_reports(now()).await;
                } else if let Err(error) = hand_in(&self.context).await {
                    tracing::debug!(%error, "counts for TLS reports wait for the shard that sends them");
                }
            }
        };
        tokio::join!(flushing, sending);
    }

    /// At the end: the volume of a shard that goes may go with it.
    pub(super) async fn finish_tls_reports(&self) {
        if !self.context.place().is_first() {
            let handed_in = tokio::time::timeout(LAST, hand_in(&self.context)).await;
            if !matches!(handed_in, Ok(Ok(()))) {
                tracing::info!(
                    "counts for TLS reports stay on disk; the shard that sends them was not reached"
                );
            }
        }
        self.flush_tls_reports().await;
    }

    async fn flush_tls_reports(&self) {
        let reports = Arc::clone(&self.context.tls_reports);
        let result = tokio::task::spawn_blocking(move || reports.flush(now())).await;
        if let Ok(Err(error)) = result {
            tracing::warn!(%error, "what was counted for TLS reports cannot be kept on disk");
        }
    }

    /// Makes and sends what is due.
    pub(super) async fn send_tls_reports(&self, now: Timestamp) {
        let snapshot = self.context.snapshot.load_full();
        let Some(settings) = &snapshot.config.delivery.reports.tls else {
            return;
        };
        let due = self.context.tls_reports.due(now).into_iter().take(AT_ONCE);
        let sends = due.map(|(day, domain)| {
            let snapshot = &snapshot;
            async move {
                let sent = self
                    .send_tls_report(snapshot, settings, day, &domain, now)
                    .await;
                if let Err(error) = sent {
                    self.tls_report_failed(day, &domain, &error.to_string(), now);
                }
            }
        });
        let all = stream::iter(sends).buffer_unordered(CONCURRENCY);
        all.collect::<()>().await;
    }

    fn tls_report_failed(&self, day: Day, domain: &str, error: &str, now: Timestamp) {
        let again = self.context.tls_reports.failed(day, domain, now);
        let result = if again { "failed" } else { "given_up" };
        self.context.metrics.tls_report(result);
        tracing::warn!(domain, error, again, "a TLS report was not sent");
    }

    async fn send_tls_report(
        &self,
        snapshot: &Snapshot,
        settings: &Settings,
        day: Day,
        domain: &str,
        now: Timestamp,
    ) -> Result<(), ReportError> {
        let reports = &self.context.tls_reports;
        let Some((policies, open)) = reports.report(day, domain) else {
            return Ok(());
        };
        let open = if let Some(open) = open {
            open
        } else {
            let begun = self.begin_tls_report(snapshot, settings, day, domain, &policies);
            begun.await?
        };
        if open.is_empty() {
            return Ok(());
        }
        let document = document(&author(snapshot, settings)?, day, domain, &policies)?;
        let (mut left, mut fault) = (Vec::new(), None);
        for place in open {
            match self.post_tls_report(snapshot, &place, &document).await {
                Ok(()) => {
                    self.context.metrics.tls_report("posted");
                    tracing::info!(domain, place, report = document.id, "a TLS report was sent");
                }
                Err(error) => {
                    fault = Some(format!("{place}: {error}"));
                    left.push(place);
                }
            }
        }
        self.write_tls_report_begun(day, domain, left).await?;
        if let Some(fault) = fault {
            self.tls_report_failed(day, domain, &fault, now);
        }
        Ok(())
    }

    /// Looks where a report is to go, and mails it if by mail; what remains is to be posted. Nothing
    /// remains when the domain wants no report.
    async fn begin_tls_report(
        &self,
        snapshot: &Snapshot,
        settings: &Settings,
        day: Day,
        domain: &str,
        policies: &Policies,
    ) -> Result<Vec<String>, ReportError> {
        let resolver = self.resolvers.get(&snapshot.config.dns)?;
        let texts = resolver.texts(&format!("_smtp._tls.{domain}")).await;
        let texts = match texts {
            Err(error) if error.is_definite() => Vec::new(),
            texts => texts?,
        };
        let Some(places) = tls_reports::places(texts.iter().map(String::as_str)) else {
            self.write_tls_report_begun(day, domain, Vec::new()).await?;
            self.context.metrics.tls_report("unasked");
            return Ok(Vec::new());
        };
        let (mut to, mut open) = (Vec::new(), Vec::new());
        for place in places {
            match place {
                Place::Mail(address) => to.push(address),
                Place::Post(uri) => open.push(uri.to_string()),
            }
        }
        let author = author(snapshot, settings)?;
        let document = document(&author, day, domain, policies)?;
        let message = if to.is_empty() {
            None
        } else {
            let letter = Letter {
                id: MessageId::new(now(), fastrand::u128(..)),
                from: &author.from,
                to: &to,
                submitter: &author.submitter,
                domain,
                document: &document,
                now: now(),
            };
            let built = tls_reports::letter(&letter);
            let mut message = built.map_err(|error| ReportError::Build(error.to_string()))?;
            let signed = signing::sign(&self.context, &author.domain, &message.content).await;
            let signatures = signed.map_err(|_| ReportError::Signature)?;
            message.content.insert(0, signatures);
            Some(message)
        };
        // From here on no second report is made, whatever happens.
        self.write_tls_report_begun(day, domain, open.clone())
            .await?;
        if let Some(message) = message {
            let id = message.id;
            if let Err(error) = self.context.queue.append(message).await {
                self.context.metrics.tls_report("given_up");
                tracing::error!(domain, %error, "a TLS report could not be queued and is lost");
                return Ok(open);
            }
            self.context.metrics.tls_report("mailed");
            tracing::info!(
                domain, message_id = %id, recipients = to.len(), report = document.id,
                "a TLS report was queued"
            );
        }
        Ok(open)
    }

    async fn write_tls_report_begun(
        &self,
        day: Day,
        domain: &str,
        open: Vec<String>,
    ) -> Result<(), ReportError> {
        let reports = Arc::clone(&self.context.tls_reports);
        let domain = domain.to_owned();
        let written = tokio::task::spawn_blocking(move || reports.begin(day, &domain, open));
        Ok(written.await??)
    }

    async fn post_tls_report(
        &self,
        snapshot: &Snapshot,
        place: &str,
        document: &Document,
    ) -> Result<(), post::PostError> {
        let way = self.web_way(snapshot).ok_or(post::PostError::NoWay)?;
        post::post(&way, place, &document.gzip).await
    }
}

/// Gives the shard that reports for all what was counted here, until it has all.
pub(super) async fn hand_in(context: &Context) -> Result<(), SiblingError> {
    let first = context.place().first();
    while let Some(batch) = context.tls_reports.outgoing() {
        let handed_in: HandedIn = match siblings::ask(context, first, HANDED_IN, &batch).await {
            // It would be so for ever, and hold up all others.
            Err(SiblingError::Refused {
                code: StatusCode::PAYLOAD_TOO_LARGE,
                ..
            }) => {
                tracing::warn!(
                    "counts for TLS reports are too many for the shard that sends them, and are dropped"
                );
                HandedIn { late: 0 }
            }
            answer => answer?,
        };
        context.tls_reports.handed_in(&batch.id);
        if handed_in.late > 0 {
            tracing::info!(
                late = handed_in.late,
                "counts came too late for their TLS reports"
            );
        }
    }
    Ok(())
}

fn document(
    author: &Author,
    day: Day,
    domain: &str,
    policies: &Policies,
) -> Result<Document, ReportError> {
    let built = tls_reports::document(&author.submitter, domain, day, policies);
    built.map_err(|error| ReportError::Build(error.to_string()))
}

fn author(snapshot: &Snapshot, settings: &Settings) -> Result<Author, ReportError> {
    let unsigned = || ReportError::Unsigned(settings.from.clone());
    let from = Address::parse(&settings.from).map_err(|_| unsigned())?;
    let domain = snapshot.domains.get(from.domain());
    let domain = domain.filter(|domain| !domain.signers.is_empty());
    let domain = Arc::clone(domain.ok_or_else(unsigned)?);
    let or = |text: &Option<String>, other: &str| text.clone().unwrap_or_else(|| other.to_owned());
    Ok(Author {
        submitter: Submitter {
            organization: or(&settings.organization, from.domain()),
            contact: or(&settings.contact, &settings.from),
            domain: domain.name.clone(),
        },
        from,
        domain,
    })
}
