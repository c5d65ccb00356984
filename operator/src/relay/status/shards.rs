//! What is told of each shard. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use operator_api::names;
use operator_api::{RefusedLogin, ShardPhase, ShardStatus, SmarthostToken, SmtpRelayStatus};
use relay_config::{SmarthostLoginStatus, SmarthostTokenStatus};

use crate::relay::dereference::{Found, Shard};

/// Ages are told to the second, moments are reckoned from them: less than this is no change.
const OLDEST_TOLERANCE: i64 = 5;

/// What is told of one shard. `before` is the relay's last status.
pub(super) fn status(
    found: &Found,
    shard: &Shard,
    hash: Option<&str>,
    draining: &[(i32, String)],
    old: &SmtpRelayStatus,
    now: Timestamp,
) -> ShardStatus {
    let name = names::shard(&found.key.1, shard.index);
    let before = old.shards.iter().find(|before| before.name == name);
    let mut status = ShardStatus {
        phase: if !found.stays(shard.index) {
            ShardPhase::Draining
        } else if shard.is_ready() {
            ShardPhase::Running
        } else {
            ShardPhase::Starting
        },
        name,
        message: draining
            .iter()
            .find(|(index, _)| *index == shard.index)
            .map(|(_, why)| why.clone()),
        ..ShardStatus::default()
    };
    match &shard.report {
        None => {}
        Some(Err(error)) => {
            status.message = Some(error.clone());
            // What was last seen is more telling than nothing.
            if let Some(before) = before {
                status.version.clone_from(&before.version);
                status.blocked_since.clone_from(&before.blocked_since);
                status.tokens.clone_from(&before.tokens);
                status.refused_logins.clone_from(&before.refused_logins);
                status.queued_messages = before.queued_messages;
                status.oldest_message.clone_from(&before.oldest_message);
            }
        }
        Some(Ok(report)) => {
            status.blocked_since = report.blocked_since.and_then(moment);
            status.tokens = report.tokens.iter().map(token).collect();
            status.refused_logins = report.refused_logins.iter().map(login).collect();
            status.programmed = hash.is_some_and(|hash| hash == report.config_hash);
            status.version = Some(report.version.clone());
            status.message = status.message.or_else(|| report.config_error.clone());
            status.queued_messages = i64::try_from(report.queue.messages).unwrap_or(i64::MAX);
            if report.queue.messages > 0 {
                let known = before.and_then(|before| before.oldest_message.clone());
                status.oldest_message = Some(oldest(known, report.queue.oldest_seconds, now));
            }
        }
    }
    status
}

fn token(report: &SmarthostTokenStatus) -> SmarthostToken {
    SmarthostToken {
        smarthost: report.smarthost.clone(),
        expires_at: report.expires_at.and_then(moment),
        error: report.error.clone(),
    }
}

fn login(report: &SmarthostLoginStatus) -> RefusedLogin {
    RefusedLogin {
        smarthost: report.smarthost.clone(),
        error: report.error.clone(),
    }
}

fn moment(seconds: u64) -> Option<Time> {
    let second = i64::try_from(seconds).ok()?;
    Timestamp::from_second(second).ok().map(Time)
}

/// When the oldest message came, kept from before while it is about the same.
fn oldest(known: Option<Time>, age: u64, now: Timestamp) -> Time {
    let second = now.as_second().saturating_sub_unsigned(age);
    if let Some(known) = known
        && (known.0.as_second() - second).abs() <= OLDEST_TOLERANCE
    {
        return known;
    }
    Time(Timestamp::from_second(second).unwrap_or(now))
}

#[cfg(test)]
mod tests;
