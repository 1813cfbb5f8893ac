//! The client protocol against its vectors, and what no vector can say.

mod encoding;
mod keys;
mod negative;
mod noise;
mod oprf;
mod pin;
mod sharing;
mod signing;
mod support;
