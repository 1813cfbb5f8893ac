//! Request ids, and traces for those who collect them.
//!
//! Each client's request has an id from the front door on, whether or not it is traced: it is in the log lines of all
//! agents that the request passes. If `[traces]` is in the configuration, some requests are traced too: what is done for
//! them is exported as spans, by OTLP.
//!
//! Kept here: what is exported is a closed list, `Attribute`, which has no place for a user, a tenant, a record or the
//! text of an error; nothing waits for an export, and nothing is made for a request that is not traced. The collector is
//! not trusted: what it answers is not read, and what it does not take is dropped and counted.

mod context;
mod exporter;
mod ids;
mod metrics;
mod settings;
mod span;

pub use context::{RequestId, TRACE_HEADER, Trail};
pub use exporter::TracesError;
pub use metrics::TraceMetrics;
pub use settings::TraceSettings;
pub(crate) use span::{Attribute, Role, Span, Stamp};

use axum::http::HeaderMap;
use exporter::Exporter;
use ids::Ids;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// How many spans wait for the exporter; what comes when it is full is dropped.
const QUEUE: usize = 4096;
/// How long the end of an agent waits for the last spans, at most.
const LAST: Duration = Duration::from_secs(1);

/// The ids of requests, and where their spans go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Traces(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ids: Ids,
    exports: Option<Exports>,
}

#[derive(Debug)]
struct Exports {
    /// How many of all 2^64 draws are sampled.
    below: u64,
    takes_ids: bool,
    queue: mpsc::Sender<Span>,
    flush: mpsc::Sender<oneshot::Sender<()>>,
    metrics: TraceMetrics,
    /// One moment, on both clocks: spans of one agent are in order even if its clock is set meanwhile.
    started: (Instant, u64),
}

impl Traces {
    /// Gives requests ids, and exports nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(Arc::new(Inner { ids: Ids::new(), exports: None }))
    }

    /// Exports what is sampled to the endpoint of the settings, as the agent that is known by this name. Call it inside a
    /// runtime; it stops with the runtime.
    ///
    /// # Errors
    /// [`TracesError`].
    pub fn start(settings: &TraceSettings, name: &str, metrics: TraceMetrics) -> Result<Self, TracesError> {
        let exporter = Exporter::new(settings, name, metrics.clone())?;
        let (traces, spans, flushes) = Self::exporting(Ids::new(), settings, metrics);
        tokio::spawn(exporter.run(spans, flushes));
        Ok(traces)
    }

    /// With what it gives to an exporter: spans, and who waits for their export.
    fn exporting(
        ids: Ids,
        settings: &TraceSettings,
        metrics: TraceMetrics,
    ) -> (Self, mpsc::Receiver<Span>, mpsc::Receiver<oneshot::Sender<()>>) {
        let (queue, spans) = mpsc::channel(QUEUE);
        let (flush, flushes) = mpsc::channel(1);
        let unix = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let started = (Instant::now(), u64::try_from(unix).unwrap_or(u64::MAX));
        let (below, takes_ids) = (settings.below(), settings.take_trace_ids);
        let exports = Some(Exports { below, takes_ids, queue, flush, metrics, started });
        (Self(Arc::new(Inner { ids, exports })), spans, flushes)
    }

    /// Whether spans are exported, and clients told the ids of their requests.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.0.exports.is_some()
    }

    /// A request that comes from a client with these headers. Whether it is sampled is decided here and nowhere else, and
    /// by nothing that the client can foresee.
    #[must_use]
    pub fn arrive(&self, headers: &HeaderMap) -> Trail {
        let Some(exports) = &self.0.exports else { return Trail::unsampled(self.0.ids.request()) };
        let taken = if exports.takes_ids { context::caller(headers) } else { None };
        let (request, parent) = taken.unwrap_or_else(|| (self.0.ids.request(), 0));
        Trail { request, parent, sampled: self.0.ids.sample(request, exports.below) }
    }

    /// The trail of a request that came without one.
    #[must_use]
    pub fn unknown(&self) -> Trail {
        Trail::unsampled(self.0.ids.request())
    }

    /// Begins a span, if the request is sampled.
    pub(crate) fn begin(&self, trail: &Trail, name: &'static str, role: Role) -> Option<Open> {
        if !trail.sampled {
            return None;
        }
        let now = self.now()?;
        Some(Open::new(self.clone(), self.span(trail, name, role, (now, now))))
    }

    /// The time now, if spans are exported.
    pub(crate) fn now(&self) -> Option<Stamp> {
        let (started, unix) = self.0.exports.as_ref()?.started;
        let since = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Some(Stamp(unix.saturating_add(since)))
    }

    /// A span that began and ended then.
    fn span(&self, trail: &Trail, name: &'static str, role: Role, (began, ended): (Stamp, Stamp)) -> Span {
        let (id, parent) = (self.0.ids.span(), trail.parent);
        let (attributes, links) = (Vec::new(), Vec::new());
        Span {
            request: trail.request,
            id,
            parent,
            name,
            role,
            began,
            ended,
            attributes,
            links,
            failed: false,
        }
    }

    /// Hands a span to the exporter, or drops it if too many wait.
    fn record(&self, span: Span) {
        let Some(exports) = &self.0.exports else { return };
        if exports.queue.try_send(span).is_err() {
            exports.metrics.dropped(1);
        }
    }

    /// Waits until what has ended is exported, though not for long.
    pub(crate) async fn flush(&self) {
        let Some(exports) = &self.0.exports else { return };
        let (done, ended) = oneshot::channel();
        if exports.flush.try_send(done).is_ok() {
            // If it takes longer, what is left is lost, as it is if the exporter has ended.
            let _ = tokio::time::timeout(LAST, ended).await;
        }
    }
}

/// A span that has not ended. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    traces: Traces,
    /// Absent only once it has ended.
    span: Option<Span>,
}

impl Open {
    const fn new(traces: Traces, span: Span) -> Self {
        Self { traces, span: Some(span) }
    }

    /// Says this about it.
    pub(crate) fn say(&mut self, attribute: Attribute) {
        if let Some(span) = &mut self.span {
            span.attributes.push(attribute);
        }
    }

    /// Ends it, well or not.
    pub(crate) fn end(mut self, outcome: &'static str, well: bool) {
        if let Some(span) = &mut self.span {
            span.attributes.push(Attribute::Outcome(outcome));
            span.failed = !well;
        }
    }

    /// For what is done inside it.
    pub(crate) fn trail(&self) -> Option<Trail> {
        let span = self.span.as_ref()?;
        Some(Trail { request: span.request, parent: span.id, sampled: true })
    }

    /// Records what was done inside it, after the fact.
    pub(crate) fn did(
        &self,
        name: &'static str,
        role: Role,
        times: (Stamp, Stamp),
        say: impl FnOnce(Span) -> Span,
    ) {
        if let Some(trail) = self.trail() {
            self.traces.record(say(self.traces.span(&trail, name, role, times)));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let (Some(mut span), Some(now)) = (self.span.take(), self.traces.now()) {
            span.ended = now;
            self.traces.record(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Traces {
        /// Samples every request, and gives the spans to a test.
        pub(crate) fn kept() -> (Self, mpsc::Receiver<Span>) {
            let (traces, spans, _) =
                Self::exporting(Ids::with(&[0; 32]), &settings(1.0, false), TraceMetrics::default());
            (traces, spans)
        }
    }

    fn settings(sample_ratio: f64, take_trace_ids: bool) -> TraceSettings {
        let endpoint = "http://127.0.0.1:4318/v1/traces".parse().expect("a URL");
        TraceSettings { endpoint, sample_ratio, timeout: Duration::from_secs(60), take_trace_ids }
    }

    /// Those of a client that asks to be sampled, under an id that is as low as one can be.
    fn asking() -> HeaderMap {
        let asked = "00-00000000000000010000000000000000-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.insert(TRACE_HEADER, asked.parse().expect("text"));
        headers
    }

    #[test]
    fn a_client_that_chooses_the_id_of_its_request_does_not_choose_that_it_is_sampled() {
        let sampled = |ratio, key| {
            let ids = Ids::with(&[key; 32]);
            let (traces, ..) = Traces::exporting(ids, &settings(ratio, true), TraceMetrics::default());
            let trail = traces.arrive(&asking());
            assert_eq!(trail.request, RequestId::new(1, 0), "its id is taken");
            trail.sampled
        };
        let many = |ratio| (0..=u8::MAX).filter(|key| sampled(ratio, *key)).count();
        assert_eq!((many(0.0), many(1.0)), (0, 256));
        assert!((96..160).contains(&many(0.5)), "{}", many(0.5));
    }

    #[test]
    fn only_with_a_setting_is_the_id_that_a_client_chose_its_requests() {
        let ids = Ids::with(&[1; 32]);
        let (traces, ..) = Traces::exporting(ids, &settings(1.0, false), TraceMetrics::default());
        let trail = traces.arrive(&asking());
        assert!(trail.request != RequestId::new(1, 0) && trail.parent == 0 && trail.sampled, "{trail:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_agent_waits_for_the_last_spans_and_not_for_long() {
        let took = async |traces: &Traces| {
            let began = tokio::time::Instant::now();
            traces.flush().await;
            began.elapsed()
        };
        // A timer is a millisecond late at most.
        let late = LAST + Duration::from_millis(2);
        let (traces, _spans, mut flushes) =
            Traces::exporting(Ids::with(&[1; 32]), &settings(1.0, false), TraceMetrics::default());
        assert!((LAST..late).contains(&took(&traces).await), "nobody exports");
        let forgotten = flushes.recv().await.expect("it was asked");
        assert!(forgotten.is_closed(), "it waits no more");

        let exporter = tokio::spawn(async move {
            let done = flushes.recv().await.expect("it is asked");
            tokio::time::sleep(LAST / 2).await;
            done.send(()).expect("it is waited for");
        });
        let waited = took(&traces).await;
        assert!((LAST / 2..LAST).contains(&waited), "until it is done: {waited:?}");
        exporter.await.expect("no panic");
        assert_eq!(took(&traces).await, Duration::ZERO, "nobody will");
        assert_eq!(took(&Traces::off()).await, Duration::ZERO);
    }

    #[tokio::test]
    async fn the_end_of_an_agent_waits_not_for_long_for_a_collector_that_never_answers() {
        let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = deaf.local_addr().expect("bound");
        let endpoint = format!("http://{address}/v1/traces").parse().expect("a URL");
        let settings = TraceSettings { endpoint, ..settings(1.0, false) };
        let traces = Traces::start(&settings, "here", TraceMetrics::default()).expect("usable");
        drop(traces.begin(&traces.arrive(&HeaderMap::new()), "request", Role::Server).expect("sampled"));
        let flush = tokio::spawn({
            let traces = traces.clone();
            async move { traces.flush().await }
        });
        let _held = deaf.accept().await.expect("it is asked to take the span");
        // From here on only the clock can end it, and what is left of the collector's minute does not count.
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        flush.await.expect("no panic");
        assert!(began.elapsed() <= LAST + Duration::from_millis(2), "{:?}", began.elapsed());
    }

    #[test]
    fn without_settings_no_request_is_sampled_and_no_span_begins() {
        let (traces, mut headers) = (Traces::off(), HeaderMap::new());
        let asked = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
        headers.insert(TRACE_HEADER, asked.parse().expect("text"));
        let trail = traces.arrive(&headers);
        assert!(!trail.sampled && trail.parent == 0);
        assert_ne!(trail.request.to_string(), "0123456789abcdef0123456789abcdef");
        assert!(traces.begin(&trail, "request", Role::Server).is_none());
        let claims = Trail { sampled: true, ..trail };
        assert!(
            traces.begin(&claims, "request", Role::Server).is_none(),
            "a peer samples, and this agent does not"
        );
    }
}
