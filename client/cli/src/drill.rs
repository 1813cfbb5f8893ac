//! `drill`: one life of a canary, from its registration to its deletion, through each host: what a user of the realm would meet.

use std::num::NonZeroU8;
use std::time::{Duration, Instant, SystemTime};

use strongroom_client::{Client, ErrorKind, Pin, Summary, UserSecret};

use crate::args::{Common, Drill};
use crate::inputs;
use crate::output::{Failure, Leg};

const GUESSES: NonZeroU8 = NonZeroU8::new(5).expect("not zero");

/// Drills through every host that is named, one after another; through the configuration as it is if none is.
pub(crate) async fn drill(common: &Common, options: &Drill) -> Result<Vec<Leg>, Failure> {
    let hosts = options.through.iter().map(|host| Some(host.as_str()));
    let hosts: Vec<Option<&str>> = if options.through.is_empty() { vec![None] } else { hosts.collect() };
    // All of them, before anything is sent.
    let clients = hosts.iter().map(|host| inputs::client_through(common, *host, |_| {}));
    let clients = clients.collect::<Result<Vec<Client>, Failure>>()?;
    let mut legs = Vec::new();
    for (host, client) in hosts.into_iter().zip(&clients) {
        let through = host.unwrap_or("the configuration").to_owned();
        let mut leg = Leg { through, steps: Vec::new(), failed: None };
        if let Err((step, failure)) = run(client, options.yes, &mut leg.steps).await {
            leg.failed = Some((step, failure.0));
        }
        legs.push(leg);
    }
    Ok(legs)
}

type Failed = (&'static str, Failure);

fn wrong(what: impl ToString) -> Failure {
    Failure::assertion(what)
}

async fn run(client: &Client, yes: bool, steps: &mut Vec<(&'static str, Duration)>) -> Result<(), Failed> {
    let mut began = Instant::now();
    let mut done = |name: &'static str| {
        steps.push((name, began.elapsed()));
        began = Instant::now();
    };
    let status = client.status().await;
    let summary = status.summary();
    if summary == Summary::Registered && !yes {
        let why = "this user has something registered, which a drill replaces and deletes: give the token of a user that exists \
                   for drills alone, or add --yes";
        return Err(("status", Failure::usage(why)));
    }
    if let Some(error) = status.undecided() {
        return Err(("status", error.into()));
    }
    done("status");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let secret = UserSecret::new(format!("canary {}", now.as_nanos()).as_bytes())
        .map_err(|error| ("register", Failure::usage(error)))?;
    let (right, other) = (Pin::from("canary: the right PIN"), Pin::from("canary: another PIN"));
    if let Err(error) = client.register(&right, &secret, b"", GUESSES).await {
        // It may have been registered all the same.
        let _ = client.delete().await;
        return Err(("register", error.into()));
    }
    done("register");
    let ended = recover(client, &right, &other, &secret, &mut done).await;
    // Whatever came of it, the canary is not to stay.
    let deleted = client.delete().await;
    ended?;
    deleted.map_err(|error| ("delete", error.into()))?;
    done("delete");
    match client.status().await.summary() {
        Summary::NotRegistered => Ok(()),
        _ => Err(("delete", wrong("what was deleted is still there, or it is not known whether it is"))),
    }
}

async fn recover(
    client: &Client,
    right: &Pin,
    other: &Pin,
    secret: &UserSecret,
    done: &mut impl FnMut(&'static str),
) -> Result<(), Failed> {
    let step = "recover with another PIN";
    match client.recover(other, b"").await {
        Err(error) => match error.kind {
            ErrorKind::InvalidPin { guesses_remaining }
                if guesses_remaining == u16::from(GUESSES.get()) - 1 => {}
            ErrorKind::InvalidPin { guesses_remaining } => {
                let what = format!("{guesses_remaining} guesses are left of {GUESSES} after one");
                return Err((step, wrong(what)));
            }
            _ => return Err((step, error.into())),
        },
        Ok(_) => return Err((step, wrong("another PIN than the right one gave a secret"))),
    }
    done(step);
    let recovered = client.recover(right, b"").await.map_err(|error| ("recover", error.into()))?;
    if recovered.as_bytes() != secret.as_bytes() {
        return Err(("recover", wrong("it is not the secret that was registered")));
    }
    done("recover");
    Ok(())
}
