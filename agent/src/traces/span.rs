//! One thing that was done for a request, from when to when.

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

    /// Its name and its outcome.
    #[cfg(test)]
    pub(crate) fn said(&self) -> (&'static str, Option<&'static str>) {
        let outcome = self.attributes.iter().find_map(|said| match said {
            Attribute::Outcome(outcome) => Some(*outcome),
            _ => None,
        });
        (self.name, outcome)
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
