//! The process: telemetry, health port, leader election, watches, controllers, and their end.
//!
//! A standby does nothing but wait for the Lease. A leader that loses the Lease exits at once, so
//! that nothing of it runs on; Kubernetes starts it anew as a standby.

mod watches;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use operator_api::names::FIELD_MANAGER;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::RunArguments;
use crate::context::{Asking, Context, Settings};
use crate::http::{self, Health};
use crate::kubernetes::apply::Applier;
use crate::kubernetes::controller::{self, Controller};
use crate::leader::{Candidate, LEASE};
use crate::telemetry::Telemetry;

/// Reconciles that run at a stop get this long; the rest of a pod's grace is for the Lease.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Relays that are reconciled at the same time.
const RELAYS_AT_ONCE: usize = 16;
/// Domains: each may wait for DNS.
const DOMAINS_AT_ONCE: usize = 32;
/// Credentials.
const CREDENTIALS_AT_ONCE: usize = 16;

/// Runs until SIGTERM or SIGINT.
pub fn run(arguments: RunArguments) -> anyhow::Result<()> {
    runtime()?.block_on(serve(arguments))
}

/// What a client of the API server runs on.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // kube installs a provider too, but only when it is the first to need one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")
}

async fn serve(arguments: RunArguments) -> anyhow::Result<()> {
    let telemetry = Telemetry::start()?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    let health = Health::new(telemetry.registry.clone());
    let listener = http::bind(arguments.health_address)
        .await
        .with_context(|| {
            format!(
                "--health-address {} cannot be bound",
                arguments.health_address
            )
        })?;
    let serving = tokio::spawn(http::serve(listener, health.clone(), stop.clone()));
    let config = kube::Config::infer()
        .await
        .context("no cluster; set KUBECONFIG or run in a pod")?;
    let default_namespace = config.default_namespace.clone();
    let client = Client::try_from(config).context("the cluster's client cannot be made")?;
    let metrics = telemetry.metrics();
    metrics.leads(false);
    let result = if arguments.leader_election {
        let identity = arguments.identity.clone().unwrap_or_else(made_up_identity);
        let namespace = arguments.operator_namespace.clone();
        let namespace = namespace.unwrap_or(default_namespace);
        let candidate = Candidate::new(client.clone(), &namespace, LEASE, identity)
            .watching(&watches::scope(&arguments.namespaces));
        lead(candidate, arguments, client, metrics, &health, &stop).await
    } else {
        work(arguments, client, metrics, &health, &stop).await
    };
    stop.cancel();
    let _ = serving.await;
    telemetry.finish();
    result
}

async fn lead(
    mut candidate: Candidate,
    arguments: RunArguments,
    client: Client,
    metrics: crate::telemetry::Metrics,
    health: &Health,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    health.set_ready(true);
    tracing::info!("waiting for the Lease");
    if !candidate.acquire(stop).await {
        return Ok(());
    }
    tracing::info!("leading");
    // The Lease is held until the work has ended, not only until the signal came.
    let finished = CancellationToken::new();
    let work = async {
        let result = work(arguments, client, metrics, health, stop).await;
        finished.cancel();
        result
    };
    tokio::pin!(work);
    let held = tokio::select! {
        held = candidate.hold(&finished) => held,
        result = &mut work => {
            candidate.release().await;
            return result;
        }
    };
    if held {
        let result = work.await;
        candidate.release().await;
        return result;
    }
    bail!("the Lease was lost; exiting, so that only one operator writes")
}

async fn work(
    arguments: RunArguments,
    client: Client,
    metrics: crate::telemetry::Metrics,
    health: &Health,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    metrics.leads(true);
    let asking = Asking::default();
    let mut watches = JoinSet::new();
    let scope = watches::scope(&arguments.namespaces);
    let applier = Arc::new(Applier::default());
    let stores = watches::start(&mut watches, &client, &scope, &asking, &applier);
    tokio::select! {
        filled = watches::filled(&stores) => filled?,
        () = stop.cancelled() => return Ok(()),
    }
    health.set_ready(true);
    tracing::info!("caches are filled");
    let reporter = Reporter {
        controller: FIELD_MANAGER.to_owned(),
        instance: arguments.identity.clone(),
    };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        stores,
        triggers: asking,
        applier,
        backoff: crate::kubernetes::backoff::Backoff::default(),
        key_maker: std::sync::Arc::default(),
        dns: crate::domain::dns::Dns::new(&arguments.dns_servers)?,
        programmed: crate::render::Programmed::default(),
        issuers: crate::issuers::IssuerKeys::default(),
        admin: crate::relay::admin::AdminClients::default(),
        metrics,
        settings: Settings {
            relay_image: arguments.relay_image,
            dns_servers: arguments.dns_servers,
            namespace: arguments.operator_namespace,
            scope,
        },
    });
    controllers(&context, stop).await;
    Ok(())
}

/// Runs until `stop`, and then until running reconciles have ended or took too long.
async fn controllers(context: &Arc<Context>, stop: &CancellationToken) {
    let relays = controller::run(
        Arc::clone(context),
        Controller {
            store: context.stores.relays.clone(),
            triggers: Arc::clone(&context.triggers.relays),
            concurrency: RELAYS_AT_ONCE,
        },
        stop.clone(),
        crate::relay::reconcile,
        crate::relay::gone,
    );
    let domains = controller::run(
        Arc::clone(context),
        Controller {
            store: context.stores.domains.clone(),
            triggers: Arc::clone(&context.triggers.domains),
            concurrency: DOMAINS_AT_ONCE,
        },
        stop.clone(),
        crate::domain::reconcile,
        |domain, context| context.key_maker.forget(domain),
    );
    let credentials = controller::run(
        Arc::clone(context),
        Controller {
            store: context.stores.credentials.clone(),
            triggers: Arc::clone(&context.triggers.credentials),
            concurrency: CREDENTIALS_AT_ONCE,
        },
        stop.clone(),
        crate::credential::reconcile,
        |_, _| {},
    );
    let domains_known = context.stores.domains.clone();
    let keys = Arc::clone(&context.key_maker)
        .run(Arc::clone(&context.triggers.domains), move |domain| {
            domains_known.has(domain)
        });
    let all = async {
        tokio::select! {
            _ = async { tokio::join!(relays, domains, credentials) } => {}
            () = keys => {}
        }
    };
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        () = all => {}
        () = late => tracing::warn!("reconciles were cut off at the stop"),
    }
}

fn stop_on_signals(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

fn made_up_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".to_owned());
    format!("{host}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}
