//! SmtpRelay.
pub mod admin;
use std::sync::Arc;
use kube::runtime::controller::Action;
use operator_api::SmtpRelay;
use crate::context::Context;
use crate::kubernetes::controller::Failure;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct RelayError;
impl Failure for RelayError { fn reason(&self) -> &'static str { "X" } }
pub async fn reconcile(_r: Arc<SmtpRelay>, _c: Arc<Context>) -> Result<Action, RelayError> { Ok(Action::await_change()) }
pub fn names_secret(_r: &SmtpRelay, _n: &str) -> bool { false }
