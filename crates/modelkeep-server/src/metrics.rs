//! What is counted, as Prometheus reads it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use modelkeep_core::{Error, Result};
use modelkeep_ops::catalogue::Catalogue;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::server::Message;

/// Of what [`Metrics::text`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = [(&'static str, String); 2];

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    latency: Histogram,
    /// Bytes of content that were sent.
    pub sent: Counter,
    /// Answers that are being sent.
    pub sending: Gauge,
}

impl Metrics {
    /// Nothing was counted yet; what the catalogue counts is asked of it.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        let mut registry = Registry::with_prefix("modelkeep");
        let (requests, sent, sending) = (Family::default(), Counter::default(), Gauge::default());
        // 0.25 ms to 16 s.
        let latency = Histogram::new(exponential_buckets(0.000_25, 2.0, 17));
        registry.register("requests", "Requests, by method and status", requests.clone());
        registry.register("answer_seconds", "Time until the first byte of an answer", latency.clone());
        registry.register("sent_bytes", "Content that was sent", sent.clone());
        registry.register("sending", "Answers with content that are being sent", sending.clone());
        registry.register_collector(Box::new(Content(catalogue)));
        Self { registry, requests, latency, sent, sending }
    }

    /// All of it as text.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry)
            .map_err(|error| Error::internal("metrics cannot be written").because(error))?;
        Ok(text)
    }
}

/// What the catalogue counts.
#[derive(Debug)]
struct Content(Arc<Catalogue>);

impl Collector for Content {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counts = self.0.counts();
        for (name, help, count) in [
            ("content_hits", "Content that was there when it was asked for", counts.hits),
            ("content_fetches", "Content that was fetched from the store", counts.fetches),
            ("content_fetched_bytes", "Bytes that were fetched from the store", counts.fetched_bytes),
            ("content_damaged", "Times that content was not what its checksum says", counts.damaged),
        ] {
            let counter = ConstCounter::new(count);
            let one = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(one)?;
        }
        let kept = ConstGauge::new(i64::try_from(counts.kept_bytes).unwrap_or(i64::MAX));
        let one = encoder.encode_descriptor("kept_bytes", "Fetched content that is kept", None, kept.metric_type())?;
        kept.encode(one)
    }
}

/// Counts a request, and how long its answer took to begin.
pub async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    let took = begun.elapsed();
    let status = response.status().as_u16();
    // Methods that HTTP does not name would be as many as somebody sends.
    let named =
        if matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "DELETE") { method.as_str() } else { "other" };
    app.metrics.requests.get_or_create(&[("method", named.to_owned()), ("status", status.to_string())]).inc();
    app.metrics.latency.observe(took.as_secs_f64());
    let path = uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string);
    app.tell(&Message::Request { method: method.to_string(), path, status, seconds: took.as_secs_f64() });
    response
}
