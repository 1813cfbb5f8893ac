//! Whether the firmware is the software HSM: the same requests and the same entropy must give the same bytes.

use super::host::Host;
use super::play::Bench;
use crate::{Error, hostile};
use indicatif::{ProgressBar, ProgressIterator, ProgressStyle};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::path::Path;
use strongroom_hsm::Config;
use strongroom_proto::client::SecretsRequest;
use strongroom_proto::ids::{RecordId, SessionId};
use strongroom_testkit::{Event, Tape};

/// Recorded sessions of clients in the field.
const TRANSCRIPT: &str = "proto/vectors/transcript.json";

/// Compares what a board answers to the vectors' sessions and to a hostile host, and prints how much that was.
///
/// # Errors
/// A reply differs, or a changed byte of a tape is not noticed; the board cannot be booted.
pub fn same(image: Option<&Path>, seed: u64, messages: usize) -> Result<(), Error> {
    let mut bench = Bench::new(image.map(Path::to_path_buf))?;
    let config = bench.config()?;
    let vectors = vectors(&config)?;
    repeat(&mut bench, "the vectors' sessions", std::slice::from_ref(&vectors))?;
    repeat(&mut bench, "a hostile host", &hostile::record(seed, messages, &config))?;
    notices(&mut bench, &vectors)
}

fn repeat(bench: &mut Bench, what: &str, tapes: &[Tape]) -> Result<(), Error> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")?;
    let bar = ProgressBar::new(tapes.len() as u64).with_style(style).with_message(what.to_owned());
    let before = bench.boots;
    for tape in tapes.iter().progress_with(bar) {
        if let Some(difference) = bench.play(tape.events())? {
            return Err(format!("{what}: {difference}").into());
        }
    }
    let (exchanges, boots) = (tapes.iter().map(Tape::exchanges).sum::<usize>(), bench.boots - before);
    println!("{what}: {exchanges} replies of the board are those of the software HSM, over {boots} boots");
    Ok(())
}

/// Checks that the comparison would notice one bit.
fn notices(bench: &mut Bench, tape: &Tape) -> Result<(), Error> {
    let mut events: Vec<Event> = tape.events().iter().take(10).cloned().collect();
    let Some(Event::Exchange { reply, .. }) = events.last_mut() else { return Err("no exchange".into()) };
    let Some(byte) = reply.last_mut() else { return Err("an empty reply".into()) };
    *byte ^= 1;
    match bench.play(&events)? {
        Some(_) => Ok(()),
        None => Err("a reply that was changed in one bit was taken for the same".into()),
    }
}

/// The requests of every recorded session, each on a record of its own, encrypted for this realm.
fn vectors(config: &Config) -> Result<Tape, Error> {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(TRANSCRIPT)?)?;
    let mut host = Host::new(1, config.clone());
    let mut rng = StdRng::seed_from_u64(1);
    for case in file["cases"].as_array().into_iter().flatten() {
        let record = RecordId(rng.random());
        for exchange in case["steps"].as_array().into_iter().flatten().flat_map(exchanges) {
            let Some(plaintext) = exchange["request_plaintext"].as_str() else { continue };
            let plaintext = hex::decode(plaintext)?;
            // An invalid request ends its session; the other tapes have those.
            if SecretsRequest::from_cbor(&plaintext).is_ok_and(|request| request != SecretsRequest::Register1)
            {
                let session = SessionId(rng.random());
                host.open(record, session);
                host.request(record, session, &plaintext);
            }
        }
        host.twin.restart();
        host.lead_again();
    }
    Ok(host.tape().clone())
}

fn exchanges(step: &Value) -> impl Iterator<Item = &Value> {
    step["http"].as_array().into_iter().flatten()
}
