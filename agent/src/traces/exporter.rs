//! Sends spans to a collector, some at a time: OTLP over HTTP, in protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! What a collector does not take is lost: sending it again would only make more wait. One that does not answer costs
//! the memory of the queue, and of the batch that it was sent.

use super::metrics::TraceMetrics;
use super::settings::TraceSettings;
use super::span::{Span, attribute};
use crate::causes::causes;
use crate::tls::install_provider;
use axum::http::header::CONTENT_TYPE;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;
use reqwest::redirect::Policy;
use reqwest::{Client, retry};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use url::Url;

/// How many spans go together, and how long the first of them waits for the others.
const BATCH: usize = 512;
const LINGER: Duration = Duration::from_secs(1);
/// How often it is said that spans are lost.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("`traces` cannot be exported: {0}")]
pub struct TracesError(String);

pub(super) struct Exporter {
    client: Client,
    endpoint: Url,
    resource: Resource,
    metrics: TraceMetrics,
    /// When it was last said that spans are lost, and how many were since.
    said: Option<Instant>,
    unsaid: usize,
}

impl Exporter {
    pub(super) fn new(
        settings: &TraceSettings,
        name: &str,
        metrics: TraceMetrics,
    ) -> Result<Self, TracesError> {
        install_provider();
        let builder = match settings.endpoint.scheme() {
            // The machine may have no authorities and need none.
            "http" => Client::builder().tls_certs_only([]),
            _ => Client::builder(),
        };
        let client = builder
            .redirect(Policy::none())
            .retry(retry::never())
            // A proxy from the environment is meant for the store.
            .no_proxy()
            .timeout(settings.timeout)
            .user_agent("strongroom-agent")
            .build()
            .map_err(|error| TracesError(causes(&error)))?;
        let text = |key, text: &str| attribute(key, Value::StringValue(text.into()));
        let attributes = vec![
            text("service.name", "strongroom-agent"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", name),
        ];
        let resource = Resource { attributes, ..Resource::default() };
        Ok(Self { client, endpoint: settings.endpoint.clone(), resource, metrics, said: None, unsaid: 0 })
    }

    /// Exports until no span can come any more.
    pub(super) async fn run(
        mut self,
        mut spans: mpsc::Receiver<Span>,
        mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let asked = tokio::select! {
                more = gather(&mut spans, &mut batch) => match more {
                    Some(()) => None,
                    None => return,
                },
                Some(asked) = flushes.recv() => Some(asked),
            };
            if let Some(asked) = asked {
                while spans.try_recv().map(|span| batch.push(span)).is_ok() {}
                self.export(&mut batch).await;
                // Whoever asked may have gone.
                let _ = asked.send(());
                continue;
            }
            self.export(&mut batch).await;
        }
    }

    async fn export(&mut self, batch: &mut Vec<Span>) {
        let count = batch.len();
        if count == 0 {
            return;
        }
        let spans = batch.drain(..).map(Span::encoded).collect();
        let name = env!("CARGO_PKG_NAME").into();
        let scope = Some(InstrumentationScope { name, ..InstrumentationScope::default() });
        let scope_spans = vec![ScopeSpans { scope, spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        let of_agent = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
        let body = ExportTraceServiceRequest { resource_spans: vec![of_agent] }.encode_to_vec();
        let request = self.client.post(self.endpoint.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        let why = match request.body(body).send().await {
            Ok(answer) if answer.status().is_success() => return self.metrics.exported(count),
            Ok(answer) => format!("it answers {}", answer.status()),
            Err(error) => causes(&error.without_url()),
        };
        self.lost(count, &why);
    }

    fn lost(&mut self, count: usize, why: &str) {
        self.metrics.failed(count);
        self.unsaid = self.unsaid.saturating_add(count);
        if self.said.is_some_and(|said| said.elapsed() < SAID_EVERY) {
            return;
        }
        self.said = Some(Instant::now());
        let spans = std::mem::take(&mut self.unsaid);
        tracing::warn!(spans, why, "the collector of traces did not take spans; this is said once a minute");
    }
}

/// Waits for a span, and then a moment for others; `None` if none can come. May be dropped and called again: what has
/// come stays in the batch.
async fn gather(spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) -> Option<()> {
    if batch.is_empty() {
        batch.push(spans.recv().await?);
    }
    let until = Instant::now() + LINGER;
    while batch.len() < BATCH {
        match timeout_at(until, spans.recv()).await {
            Ok(Some(span)) => batch.push(span),
            Ok(None) | Err(_) => break,
        }
    }
    Some(())
}
