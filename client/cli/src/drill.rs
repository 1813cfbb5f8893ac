//! `drill`: one life of a canary, from its registration to its deletion, through each host, and one while a leader goes: what a user
//! of the realm would meet.

use std::num::NonZeroU8;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use strongroom_client::{Client, ErrorKind, Pin, Summary, UserSecret};
use tokio::process::Command;

use crate::args::{Common, Drill};
use crate::inputs;
use crate::output::{Failure, Leg};

const GUESSES: NonZeroU8 = NonZeroU8::new(5).expect("not zero");
/// For so long after the command has ended, recoveries go on: by then whoever follows a leader that went leads.
const AFTER_FAILOVER: Duration = Duration::from_secs(5);

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
        legs.push(leg(through, client, options.yes, None).await);
    }
    if let Some(command) = &options.failover {
        let client = inputs::client_through(common, None, |_| {})?;
        let through = format!("the configuration while `{command}` runs");
        legs.push(leg(through, &client, options.yes, Some(command)).await);
    }
    Ok(legs)
}

async fn leg(through: String, client: &Client, yes: bool, failover: Option<&str>) -> Leg {
    let mut leg = Leg { through, steps: Vec::new(), failed: None };
    if let Err((step, failure)) = run(client, yes, failover, &mut leg.steps).await {
        leg.failed = Some((step, failure.0));
    }
    leg
}

type Failed = (&'static str, Failure);

fn wrong(what: impl ToString) -> Failure {
    Failure::assertion(what)
}

/// What was done, and how long each step took.
struct Steps<'a>(&'a mut Vec<(&'static str, Duration)>, Instant);

impl Steps<'_> {
    fn done(&mut self, name: &'static str) {
        self.took(name, self.1.elapsed());
    }

    fn took(&mut self, name: &'static str, took: Duration) {
        self.0.push((name, took));
        self.1 = Instant::now();
    }
}

async fn run(
    client: &Client,
    yes: bool,
    failover: Option<&str>,
    steps: &mut Vec<(&'static str, Duration)>,
) -> Result<(), Failed> {
    let mut steps = Steps(steps, Instant::now());
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
    steps.done("status");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let secret = UserSecret::new(format!("canary {}", now.as_nanos()).as_bytes())
        .map_err(|error| ("register", Failure::usage(error)))?;
    let (right, other) = (Pin::from("canary: the right PIN"), Pin::from("canary: another PIN"));
    if let Err(error) = client.register(&right, &secret, b"", GUESSES).await {
        // It may have been registered all the same.
        let _ = client.delete().await;
        return Err(("register", error.into()));
    }
    steps.done("register");
    let ended = match failover {
        None => recover(client, &right, &other, &secret, &mut steps).await,
        Some(command) => recover_during(command, client, &right, &secret, &mut steps).await,
    };
    // Whatever came of it, the canary is not to stay.
    let deleted = client.delete().await;
    ended?;
    deleted.map_err(|error| ("delete", error.into()))?;
    steps.done("delete");
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
    steps: &mut Steps<'_>,
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
    steps.done(step);
    recover_right(client, right, secret).await.map_err(|failure| ("recover", failure))?;
    steps.done("recover");
    Ok(())
}

async fn recover_right(client: &Client, right: &Pin, secret: &UserSecret) -> Result<(), Failure> {
    let recovered = client.recover(right, b"").await?;
    if recovered.as_bytes() != secret.as_bytes() {
        return Err(wrong("it is not the secret that was registered"));
    }
    Ok(())
}

/// Recovers, one after another, while the command runs and for a while after.
async fn recover_during(
    command: &str,
    client: &Client,
    right: &Pin,
    secret: &UserSecret,
    steps: &mut Steps<'_>,
) -> Result<(), Failed> {
    let step = "run the command";
    let mut running = Command::new("sh");
    // What is printed here may be for programs.
    running.args(["-c", command]).stdin(Stdio::null()).stdout(std::io::stderr()).kill_on_drop(true);
    let unable = |error| (step, Failure::usage(format!("cannot run `{command}`: {error}")));
    let mut running = running.spawn().map_err(unable)?;
    let began = Instant::now();
    let (mut ended, mut slowest) = (None, Duration::ZERO);
    while ended.is_none_or(|ended: Instant| ended.elapsed() < AFTER_FAILOVER) {
        let one = Instant::now();
        recover_right(client, right, secret).await.map_err(|failure| ("recover meanwhile", failure))?;
        slowest = slowest.max(one.elapsed());
        if ended.is_none()
            && let Some(status) = running.try_wait().map_err(unable)?
        {
            if !status.success() {
                return Err((step, Failure::usage(format!("`{command}` failed: {status}"))));
            }
            ended = Some(Instant::now());
            steps.took(step, began.elapsed());
        }
    }
    steps.took("slowest recovery meanwhile", slowest);
    Ok(())
}
