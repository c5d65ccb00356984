use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use super::*;
use crate::relay::status::verdicts::tests::found;

const NOW: Timestamp = Timestamp::constant(10_000, 0);

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

#[test]
fn the_oldest_message_moves_only_when_it_is_another() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let first = oldest(None, 30, at(1000));
    assert_eq!(first, Time(at(970)));
    assert_eq!(oldest(Some(first.clone()), 92, at(1060)), first);
    assert_eq!(oldest(Some(first), 10, at(1060)), Time(at(1050)));
}

/// A shard of two, and what its pod said.
fn shard(index: i32, report: Option<Result<serde_json::Value, &str>>) -> Shard {
    let report = report.map(|report| match report {
        Ok(said) => Ok(serde_json::from_value(said).unwrap()),
        Err(error) => Err(error.to_owned()),
    });
    Shard {
        report,
        ..Shard::absent(index)
    }
}

fn ready(shard: Shard) -> Shard {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"generation": 2},
        "status": {"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 1},
    }))
    .unwrap();
    Shard {
        deployment: Some(Arc::new(deployment)),
        ..shard
    }
}

fn said() -> serde_json::Value {
    json!({
        "version": "1.2", "configHash": "beef", "accepting": true,
        "queue": {"messages": 7, "oldestSeconds": 40},
        "blockedSince": 9000,
        "tokens": [
            {"smarthost": "smtp.a.example", "expiresAt": 12_000},
            {"smarthost": "smtp.b.example", "error": "refused"},
        ],
        "refusedLogins": [{"smarthost": "smtp.c.example", "error": "535 no"}],
    })
}

fn tell(shard: &Shard, draining: &[(i32, String)], old: &[ShardStatus]) -> ShardStatus {
    let old = SmtpRelayStatus {
        shards: old.to_vec(),
        ..SmtpRelayStatus::default()
    };
    let found = found(json!({"replicas": 2}), true);
    status(&found, shard, Some("beef"), draining, &old, NOW)
}

/// What is told after [`said`].
fn told() -> ShardStatus {
    ShardStatus {
        name: "outbox-1".into(),
        phase: ShardPhase::Running,
        version: Some("1.2".into()),
        programmed: true,
        message: None,
        queued_messages: 7,
        oldest_message: Some(at(9960)),
        blocked_since: Some(at(9000)),
        tokens: vec![
            SmarthostToken {
                smarthost: "smtp.a.example".into(),
                expires_at: Some(at(12_000)),
                error: None,
            },
            SmarthostToken {
                smarthost: "smtp.b.example".into(),
                expires_at: None,
                error: Some("refused".into()),
            },
        ],
        refused_logins: vec![RefusedLogin {
            smarthost: "smtp.c.example".into(),
            error: "535 no".into(),
        }],
    }
}

#[test]
fn all_that_a_pod_says_is_told() {
    assert_eq!(tell(&ready(shard(1, Some(Ok(said())))), &[], &[]), told());
}

#[test]
fn the_phase_is_that_of_the_deployment_and_of_the_spec() {
    let starting = tell(&shard(1, None), &[], &[]);
    let nothing = ShardStatus {
        name: "outbox-1".into(),
        ..ShardStatus::default()
    };
    assert_eq!(starting, nothing);
    assert_eq!(starting.phase, ShardPhase::Starting);
    let leaving = tell(&ready(shard(2, None)), &[(2, "3 messages".into())], &[]);
    assert_eq!(leaving.phase, ShardPhase::Draining);
    assert_eq!(leaving.message.as_deref(), Some("3 messages"));
    // What is said of another shard is not said of this one.
    assert_eq!(
        tell(&shard(1, None), &[(2, "3 messages".into())], &[]),
        nothing
    );
}

#[test]
fn another_configuration_than_the_newest_is_no_programmed_shard_and_says_why() {
    let mut other = said();
    other["configHash"] = json!("dead");
    other["configError"] = json!("hostname: is empty");
    let status = tell(&ready(shard(1, Some(Ok(other)))), &[], &[]);
    assert!(!status.programmed);
    assert_eq!(status.message.as_deref(), Some("hostname: is empty"));
}

#[test]
fn an_empty_queue_has_no_oldest_message_and_an_open_port_no_date() {
    let mut quiet = said();
    quiet["queue"] = json!({"messages": 0, "oldestSeconds": 0});
    quiet["blockedSince"] = json!(null);
    quiet["tokens"] = json!([]);
    let status = tell(&ready(shard(1, Some(Ok(quiet)))), &[], &[told()]);
    let expected = ShardStatus {
        queued_messages: 0,
        oldest_message: None,
        blocked_since: None,
        tokens: Vec::new(),
        ..told()
    };
    assert_eq!(status, expected);
}

#[test]
fn of_a_pod_that_does_not_answer_the_last_that_was_seen_is_told_and_that_it_does_not() {
    let silent = ready(shard(1, Some(Err("no route"))));
    let expected = ShardStatus {
        message: Some("no route".into()),
        programmed: false,
        ..told()
    };
    let other = ShardStatus {
        name: "outbox-0".into(),
        queued_messages: 1,
        ..ShardStatus::default()
    };
    assert_eq!(tell(&silent, &[], &[other, told()]), expected);
    let unknown = tell(&silent, &[], &[]);
    assert_eq!(unknown.message.as_deref(), Some("no route"));
    assert_eq!(unknown.queued_messages, 0);
}

#[test]
fn moments_that_are_none_are_left_out() {
    let mut odd = said();
    odd["blockedSince"] = json!(u64::MAX);
    odd["tokens"][0]["expiresAt"] = json!(u64::MAX);
    let status = tell(&ready(shard(1, Some(Ok(odd)))), &[], &[]);
    assert_eq!(status.blocked_since, None);
    assert_eq!(status.tokens[0].expires_at, None);
}
