//! One thing that was done for a request, from when to when.

use super::Traces;
use super::context::{RequestId, Trail};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use strongroom_proto::ids::{GroupId, HsmId};

/// A moment, in Unix nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Stamp(pub(super) u64);

/// Who is at the other end of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A client, or another agent: it asked.
    Server,
    /// An HSM, a store or another agent: it was asked.
    Client,
    /// Nobody.
    Internal,
}

/// All that is ever said about a span. No text comes from outside, and nothing is about a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attribute {
    /// How it ended.
    Outcome(&'static str),
    /// What kind of request it is.
    Kind(&'static str),
    Group(GroupId),
    Hsm(HsmId),
    /// How many requests went into the HSM together.
    Requests(usize),
}

impl Attribute {
    fn encoded(self) -> KeyValue {
        let text = |text: String| Value::StringValue(text);
        let (key, value) = match self {
            Self::Outcome(outcome) => ("strongroom.outcome", text(outcome.into())),
            Self::Kind(kind) => ("strongroom.request", text(kind.into())),
            Self::Group(group) => ("strongroom.group", text(group.to_string())),
            Self::Hsm(hsm) => ("strongroom.hsm", text(hsm.to_string())),
            Self::Requests(n) => {
                ("strongroom.batch.requests", Value::IntValue(i64::try_from(n).unwrap_or(i64::MAX)))
            }
        };
        attribute(key, value)
    }
}

pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A span that has ended.
#[derive(Debug)]
pub(crate) struct Span {
    pub(super) request: RequestId,
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) began: Stamp,
    pub(super) ended: Stamp,
    pub(super) attributes: Vec<Attribute>,
    /// Other requests that it was done for.
    pub(super) links: Vec<Trail>,
    pub(super) failed: bool,
}

impl Span {
    /// With this said about it.
    pub(crate) fn with(mut self, attribute: Attribute) -> Self {
        self.attributes.push(attribute);
        self
    }

    /// Done for these requests too.
    pub(crate) fn also_for(mut self, others: impl Iterator<Item = Trail>) -> Self {
        self.links.extend(others);
        self
    }

    pub(super) fn encoded(self) -> otlp::Span {
        let kind = match self.role {
            Role::Server => SpanKind::Server,
            Role::Client => SpanKind::Client,
            Role::Internal => SpanKind::Internal,
        };
        let id = |id: u64| if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
        let link = |trail: Trail| Link {
            trace_id: trail.request.bytes(),
            span_id: id(trail.parent),
            ..Link::default()
        };
        let code = if self.failed { StatusCode::Error } else { StatusCode::Unset };
        otlp::Span {
            trace_id: self.request.bytes(),
            span_id: id(self.id),
            parent_span_id: id(self.parent),
            name: self.name.into(),
            kind: kind.into(),
            start_time_unix_nano: self.began.0,
            end_time_unix_nano: self.ended.0,
            attributes: self.attributes.into_iter().map(Attribute::encoded).collect(),
            links: self.links.into_iter().map(link).collect(),
            status: Some(otlp::Status { code: code.into(), ..otlp::Status::default() }),
            ..otlp::Span::default()
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
    pub(super) const fn new(traces: Traces, span: Span) -> Self {
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
