//! What an OpenTelemetry collector gets: spans of a message below the application's own, and
//! metrics. The collector is a gRPC server made of the protocol's published definitions.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use lettre::Transport as _;
use lettre::message::header::{HeaderName, HeaderValue};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

use crate::client::{billing, message};
use crate::receiver::Receiver;
use crate::relay::{PATIENCE, Setup};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    metrics: Vec<String>,
    services: Vec<String>,
}

/// A collector that keeps what it gets; its thread ends with the test's process.
#[derive(Clone, Default)]
struct Collector(Arc<(Mutex<Received>, Condvar)>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut received = self.0.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let name = attributes.into_iter().find(|one| one.key == "service.name");
            received.services.push(format!("{name:?}"));
            let spans = resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            received.spans.extend(spans);
        }
        self.0.1.notify_all();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut received = self.0.0.lock().unwrap();
        for resource in request.into_inner().resource_metrics {
            let metrics = resource
                .scope_metrics
                .into_iter()
                .flat_map(|scope| scope.metrics);
            received.metrics.extend(metrics.map(|metric| metric.name));
        }
        self.0.1.notify_all();
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    fn start(&self) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (traces, metrics) = (self.clone(), self.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                tonic::transport::Server::builder()
                    .add_service(TraceServiceServer::new(traces))
                    .add_service(MetricsServiceServer::new(metrics))
                    .serve_with_incoming(incoming)
                    .await
                    .unwrap();
            });
        });
        address
    }

    /// Waits until what was received satisfies `enough`.
    fn wait_until(&self, what: &str, enough: impl Fn(&Received) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut received = self.0.0.lock().unwrap();
        while !enough(&received) {
            let left = deadline.saturating_duration_since(Instant::now());
            let names: Vec<_> = received.spans.iter().map(|span| &span.name).collect();
            assert!(
                !left.is_zero(),
                "no {what}: spans {names:?}, metrics {:?}, services {:?}",
                received.metrics,
                received.services
            );
            received = self.0.1.wait_timeout(received, left).unwrap().0;
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[test]
fn a_collector_gets_the_message_s_spans_below_the_application_s_and_the_metrics() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let collector = Collector::default();
    let address = collector.start();
    let relay = setup.start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}")),
        ("OTEL_SERVICE_NAME", "outbox of a test"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ]);
    let mut mail = message("billing@shop.example", "ada@reader.example", "traced");
    mail.headers_mut().insert_raw(HeaderValue::new(
        HeaderName::new_from_ascii_str("traceparent"),
        format!("00-{TRACE}-{PARENT}-01"),
    ));
    billing(relay.submission(), &setup.authority)
        .send(&mail)
        .unwrap();
    receiver.wait_for(|message| message.content.contains("Subject: traced"));

    let named = |received: &Received, name: &str| {
        let mut spans = received.spans.iter();
        spans
            .find(|span| span.name == name && hex(&span.trace_id) == TRACE)
            .map(|span| (hex(&span.span_id), hex(&span.parent_span_id)))
    };
    collector.wait_until("joined spans", |received| {
        let (Some(accept), Some(attempt)) =
            (named(received, "accept"), named(received, "delivery"))
        else {
            return false;
        };
        assert_eq!(accept.1, PARENT, "the application's span is the parent");
        assert_eq!(attempt.1, accept.0, "an attempt belongs to the acceptance");
        true
    });
    collector.wait_until("metrics", |received| {
        [
            "relay.messages.accepted",
            "relay.delivery.attempts",
            "relay.queue.messages",
        ]
        .iter()
        .all(|name| received.metrics.iter().any(|metric| metric == name))
    });
    collector.wait_until("the service's name", |received| {
        received
            .services
            .iter()
            .all(|name| name.contains("outbox of a test"))
    });
}
