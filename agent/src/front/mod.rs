//! The front door: what clients of the realm talk to, over HTTP and gRPC alike.
//!
//! Clients and their network are hostile. The front door reads at most [`MAX_BODY`] bytes of a request, checks it in
//! the order of section 11 of the client protocol, steps 1 to 6, and hands what passed to a [`Backend`] or, while that
//! knows no realm, to the front doors of other agents (`relay.rs`). Beside requests it shows what is published of the realm's logs
//! (`public.rs`), and to tenants their events (`events.rs`). It cannot read what clients encrypt. A request
//! takes a place among those in flight only after all of these checks, so that nobody without a token takes one. Memory
//! is bounded: the number of connections, of requests on each, and the buffers and time of each; the arithmetic is in
//! `serve.rs`.

mod connections;
mod cors;
mod door;
mod event_paths;
mod event_places;
mod events;
mod http;
mod metrics;
mod public;
mod published;
mod readiness;
mod realm_service;
mod relay;
mod request_id;
mod serve;
mod texts;
mod timeouts;
mod version;

pub use cors::Cors;
pub use door::{Backend, Front, MAX_BODY};
pub use event_paths::{EventsRead, LONGEST_POLL};
pub use http::router;
pub use metrics::{FrontMetrics, ReadLabel, Refusal, Relayed, Shown};
pub use published::{MAX_NOTE, Published};
pub use readiness::{Check, Readiness};
pub use relay::{FrontUrl, RELAYED_HEADER, Relay, RelayError};
pub use request_id::REQUEST_ID_HEADER;
pub use serve::{CLOSING, serve};
pub use strongroom_proto::client::MAX_REQUEST_BODY;
pub use timeouts::Timeouts;
pub use version::VERSION_HEADER;
