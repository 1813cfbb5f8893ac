//! The core, asked as hosts ask it: what it answers, what it refuses, and every byte that is pinned.

#[path = "../common/mod.rs"]
mod common;

mod any_bytes;
mod arrays;
mod captures;
mod edges;
mod enrolment;
mod preimages;
mod reads;
mod replay;
mod requests;
mod sessions;
mod sizes;
mod vectors_state;
mod vectors_transcript;
