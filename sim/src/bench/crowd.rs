//! Users who each begin a recovery when their last one has ended, all the while something else goes on, and what became
//! of every recovery. Each is made by a device that has just started, as in a deployment, where nobody recovers twice in a row:
//! one that had recovered before would go on in the session that it has.

use super::numbers::percentile;
use super::report::Span;
use super::service::{PAUSE, PIN, SECRET, TOGETHER, register};
use crate::Error;
use crate::chaos::{Doors, Sent};
use futures::stream::{self, StreamExt, TryStreamExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strongroom_client::Pin;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How many messages of a recovery act on a record, when none is sent again.
const MESSAGES: u32 = 3;

/// A user who has registered.
#[derive(Clone)]
pub(super) struct User {
    name: String,
    doors: Doors,
    /// Whether its record is below the prefix that moves.
    moves: bool,
}

/// One that has ended.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    ended: Instant,
    took_ms: f64,
    right: bool,
    /// How many messages were sent more than once.
    again: u32,
    moves: bool,
}

/// What users have in common.
#[derive(Default)]
struct Told {
    enough: AtomicBool,
    ended: Mutex<Vec<Recovery>>,
    failure: Mutex<Option<String>>,
}

impl Told {
    fn ended(&self) -> Vec<Recovery> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Users who recover until this is dropped.
pub(super) struct Crowd {
    told: Arc<Told>,
    tasks: JoinSet<()>,
}

/// Registers users of these names, of whose records some are below the prefix that moves.
///
/// # Errors
/// One cannot register.
pub(super) async fn enrol(doors: &Doors, names: Vec<(String, bool)>) -> Result<Vec<User>, Error> {
    let enrolled = names.into_iter().map(|(name, moves)| {
        let (doors, client) = (doors.clone(), doors.device(&name, &Sent::default(), |_| {}));
        async move {
            register(Arc::new(client)).await?;
            Ok::<_, Error>(User { name, doors, moves })
        }
    });
    stream::iter(enrolled).buffered(TOGETHER).try_collect().await
}

impl User {
    /// Whether its record is below the prefix that moves.
    pub(super) const fn moves(&self) -> bool {
        self.moves
    }
}

impl Crowd {
    pub(super) fn begin(users: &[User]) -> Self {
        let told = Arc::new(Told::default());
        let mut tasks = JoinSet::new();
        for user in users {
            tasks.spawn(recover(user.clone(), Arc::clone(&told)));
        }
        Self { told, tasks }
    }

    /// Lets everybody end what is begun. Returns why the first of those that failed did so.
    pub(super) async fn end(self) -> Option<String> {
        self.told.enough.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        self.told.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How many recoveries have ended since.
    pub(super) fn count(&self, since: Instant) -> usize {
        self.told.ended().iter().filter(|recovery| recovery.ended >= since).count()
    }

    /// What became of those that ended in this time.
    pub(super) fn span(&self, from: Instant, to: Instant) -> Span {
        span(&self.told.ended(), from, to)
    }

    /// The same, and of those that began in this time and ended later, or the other way around: their users waited for what
    /// went on meanwhile.
    pub(super) fn span_with_edges(&self, from: Instant, to: Instant) -> Span {
        span_with_edges(&self.told.ended(), from, to)
    }

    /// For how long, in this time, no recovery of a record below the prefix ended well: the longest such pause, in
    /// milliseconds.
    pub(super) fn longest_pause_ms(&self, from: Instant, to: Instant) -> f64 {
        longest_pause_ms(&self.told.ended(), from, to)
    }
}

fn span(ended: &[Recovery], from: Instant, to: Instant) -> Span {
    told_of(ended.iter().filter(|recovery| (from..to).contains(&recovery.ended)), from, to)
}

fn span_with_edges(ended: &[Recovery], from: Instant, to: Instant) -> Span {
    let touches = |recovery: &&Recovery| {
        let took = Duration::from_secs_f64(recovery.took_ms / 1e3);
        recovery.ended >= from && recovery.ended.checked_sub(took).is_none_or(|begun| begun < to)
    };
    told_of(ended.iter().filter(touches), from, to)
}

fn told_of<'a>(of: impl Iterator<Item = &'a Recovery>, from: Instant, to: Instant) -> Span {
    let of: Vec<&Recovery> = of.collect();
    let right = || of.iter().filter(|recovery| recovery.right);
    let mut took_ms: Vec<f64> = right().map(|recovery| recovery.took_ms).collect();
    let seconds = to.duration_since(from).as_secs_f64();
    let within = right().filter(|recovery| (from..to).contains(&recovery.ended)).count();
    let [p50_ms, p95_ms, p99_ms, most_ms] =
        [50.0, 95.0, 99.0, 100.0].map(|percent| percentile(&mut took_ms, percent));
    Span {
        seconds,
        recoveries: took_ms.len() as u64,
        failed: (of.len() - took_ms.len()) as u64,
        sent_again: of.iter().map(|recovery| u64::from(recovery.again)).sum(),
        per_second: within as f64 / seconds.max(f64::EPSILON),
        p50_ms,
        p95_ms,
        p99_ms,
        most_ms,
        ..Span::default()
    }
}

fn longest_pause_ms(ended: &[Recovery], from: Instant, to: Instant) -> f64 {
    let served = ended.iter().filter(|recovery| recovery.right && recovery.moves).map(|r| r.ended);
    let mut at: Vec<Instant> = served.filter(|at| (from..to).contains(at)).chain([from, to]).collect();
    at.sort_unstable();
    let pauses = at.windows(2).map(|two| two[1].duration_since(two[0]).as_secs_f64() * 1e3);
    pauses.fold(0.0, f64::max)
}

async fn recover(user: User, told: Arc<Told>) {
    let User { name, doors, moves } = user;
    while !told.enough.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let sent = Sent::default();
        let client = doors.device(&name, &sent, |_| {});
        let recovered = client.recover(&Pin::from(PIN), b"").await;
        let ended = Instant::now();
        let why = match recovered {
            Ok(secret) if secret.as_bytes() == SECRET => None,
            Ok(_) => Some("another secret was recovered".to_owned()),
            Err(error) => Some(told_with_causes(&error, moves, ended.duration_since(begun))),
        };
        let recovery = Recovery {
            ended,
            took_ms: ended.duration_since(begun).as_secs_f64() * 1e3,
            right: why.is_none(),
            again: sent.take().saturating_sub(MESSAGES),
            moves,
        };
        told.ended.lock().unwrap_or_else(PoisonError::into_inner).push(recovery);
        if let Some(why) = why {
            told.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
            sleep(PAUSE).await;
        }
    }
}

/// An error, with what each realm did.
fn told_with_causes(error: &strongroom_client::Error, moves: bool, after: Duration) -> String {
    let causes: Vec<String> = error.causes.iter().map(ToString::to_string).collect();
    let whose = if moves { "one that moves" } else { "one that does not move" };
    format!("of a record, {whose}, after {} ms: {error} ({})", after.as_millis(), causes.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_in_a_time_counts_there_and_only_what_moves_counts_for_the_pause() {
        let from = Instant::now();
        let at = |ms| from + Duration::from_millis(ms);
        let recovery =
            |ms, took_ms, right, again, moves| Recovery { ended: at(ms), took_ms, right, again, moves };
        let ended = [
            recovery(0, 5.0, true, 0, true),
            recovery(100, 7.0, true, 2, true),
            recovery(300, 9.0, true, 0, false),
            recovery(400, 900.0, false, 1, true),
            recovery(700, 11.0, true, 0, true),
            recovery(1000, 13.0, true, 5, true),
        ];
        let told = span(&ended, from, at(1000));
        assert_eq!((told.recoveries, told.failed, told.sent_again), (4, 1, 3));
        assert_eq!((told.p50_ms, told.p95_ms, told.most_ms), (Some(7.0), Some(11.0), Some(11.0)));
        assert!((told.per_second - 4.0).abs() < 1e-9, "{told:?}");
        // The one that failed had ended before, and the last one ends later.
        let told = span_with_edges(&ended, at(500), at(995));
        assert_eq!((told.recoveries, told.failed, told.most_ms), (2, 0, Some(13.0)));
        assert!((told.per_second - 1.0 / 0.495).abs() < 1e-9, "only one of them ended by then: {told:?}");
        assert!((longest_pause_ms(&ended, from, at(1000)) - 600.0).abs() < 1e-6);
        assert!((longest_pause_ms(&[], from, at(50)) - 50.0).abs() < 1e-6);
    }
}
