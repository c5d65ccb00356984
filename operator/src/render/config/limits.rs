//! Bounds on clients.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use operator_api as api;
use operator_api::conditions::reason;
use relay_config::{Duration, Limits};

use super::invalid;
use crate::render::{Violation, quantity};

/// Until every node knows that a pod which is told to stop is out of the Service, in seconds. Without
/// another one that is ready nodes go on leading clients to it, so nothing is lost there either.
const SHUTDOWN_DELAY: u64 = 5;

/// The limits of the spec, the rest at their defaults.
pub(super) fn build(limits: Option<&api::Limits>) -> Result<Limits, Violation> {
    let mut built = Limits {
        shutdown_delay: Duration::from_secs(SHUTDOWN_DELAY),
        ..Limits::default()
    };
    let Some(limits) = limits else {
        return Ok(built);
    };
    size(
        "messageSize",
        limits.message_size.as_ref(),
        &mut built.message_bytes,
    )?;
    size(
        "headerSize",
        limits.header_size.as_ref(),
        &mut built.header_bytes,
    )?;
    built.receiving_bytes = built.receiving_bytes.max(built.message_bytes);
    let numbers = [
        ("recipients", limits.recipients, &mut built.recipients),
        ("connections", limits.connections, &mut built.connections),
        (
            "connectionsPerAddress",
            limits.connections_per_address,
            &mut built.connections_per_address,
        ),
        (
            "connectionsPerIdentity",
            limits.connections_per_identity,
            &mut built.connections_per_identity,
        ),
        ("commands", limits.commands, &mut built.commands),
    ];
    for (name, value, target) in numbers {
        if let Some(value) = value {
            *target = number(name, value)?;
        }
    }
    if let Some(rate) = limits.minimum_rate {
        built.minimum_rate = number("minimumRate", rate)?.into();
    }
    let times = [
        (
            "sessionTimeout",
            &limits.session_timeout,
            &mut built.session_timeout,
        ),
        ("maximumHold", &limits.maximum_hold, &mut built.maximum_hold),
    ];
    for (name, text, target) in times {
        if let Some(text) = text {
            *target = text.parse::<Duration>().map_err(|error| {
                Violation::new(reason::INVALID_SPEC, format!("spec.limits.{name}: {error}"))
            })?;
        }
    }
    Ok(built)
}

fn size(name: &str, value: Option<&Quantity>, target: &mut u64) -> Result<(), Violation> {
    if let Some(value) = value {
        *target = quantity::octets(value).ok_or_else(|| {
            let field = format!("spec.limits.{name}");
            invalid(&field, &value.0, "is not a size; write it like 50Mi")
        })?;
    }
    Ok(())
}

fn number(name: &str, value: i32) -> Result<u32, Violation> {
    u32::try_from(value).map_err(|_| {
        invalid(
            &format!("spec.limits.{name}"),
            &value.to_string(),
            "is negative",
        )
    })
}
