//! The client protocol against its vectors, and what no vector can say.

mod encoding;
mod negative;
mod noise;
mod support;
