//! What the software HSM answers where a board answered: with the same limits, the same name, and the same entropy.

use crate::Error;
use strongroom_hsm::{Config, Core, Drbg};
use strongroom_proto::hsm::{DeviceStatus, Reply};
use strongroom_testkit::{Entropy, Event, GEOMETRY, MemoryFlash, TestEnv};

/// Checks that what a board answered to real agents is what the software HSM would have answered. Returns the number of
/// replies.
///
/// # Errors
/// It is not.
pub(super) fn compare(tape: &[Event]) -> Result<usize, Error> {
    let status = tape.iter().find_map(|event| match event {
        Event::Exchange { reply, .. } => match minicbor::decode(reply) {
            Ok(Reply::Device(status)) => Some(status),
            _ => None,
        },
        Event::Boot(_) => None,
    });
    let status = status.ok_or("the board never said what it is")?;
    match differs(&Config::firmware(status.version, status.build), tape)? {
        None => Ok(tape.iter().filter(|event| matches!(event, Event::Exchange { .. })).count()),
        Some((at, _)) => {
            Err(format!("the software HSM answers differently to exchange {at} of the board").into())
        }
    }
}

/// What another HSM of this kind answers to what happened on a tape, from the first boot on, up to the first reply that
/// differs from the tape. Returns the number of that exchange, and the reply.
///
/// # Errors
/// It does not begin with a boot.
fn differs(config: &Config, tape: &[Event]) -> Result<Option<(usize, Vec<u8>)>, Error> {
    let mut at = 0;
    let (mut env, mut core) = (None::<TestEnv<MemoryFlash, Drbg<Entropy>>>, None);
    for event in tape {
        match event {
            Event::Boot(bytes) => {
                let rng = Drbg::start(Entropy::new(bytes.clone())).map_err(|error| error.to_string())?;
                let flash = env.take().map_or_else(|| MemoryFlash::new(GEOMETRY), |env| env.flash);
                let mut booted = TestEnv::new(flash, rng);
                core = Some(Core::start(&mut booted, config.clone())?);
                env = Some(booted);
            }
            Event::Exchange { request, reply } => {
                let (Some(core), Some(env)) = (&mut core, &mut env) else {
                    return Err("a tape begins with a boot".into());
                };
                let own = core.handle(env, request);
                if !is_same(&own, reply) {
                    return Ok(Some((at, own)));
                }
                at += 1;
            }
        }
    }
    Ok(None)
}

/// Whether a board answered as the software HSM did, byte for byte, except for the wear of its flash, which differs
/// from the software HSM's.
pub(super) fn is_same(software: &[u8], board: &[u8]) -> bool {
    let status = |reply: &[u8]| match minicbor::decode(reply) {
        Ok(Reply::Device(status)) => Some(status),
        _ => None,
    };
    match (status(software), status(board)) {
        (Some(software), Some(board)) => DeviceStatus { wear: board.wear, ..software } == board,
        _ => software == board,
    }
}
