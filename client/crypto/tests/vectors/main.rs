//! What a client computes, against the vectors of the client protocol, and what no vector can show.

mod keys;
mod oprf;
mod pin;
mod preimages;
mod sharing;
mod signing;
// One reader of vectors, shared by all tests.
#[path = "../../../../proto/tests/client_protocol/support.rs"]
mod support;
