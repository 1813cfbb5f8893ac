//! A request that stays without an answer is sent again while the first one is still waited for.
//!
//! A host that was stopped, or a network that swallows packets, gives no sign: without copies, the client would wait
//! for the transport to give up. The caller makes sure that a copy costs no guess.

use std::future::{Future, pending};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;

use crate::failure::Failure;
use crate::runtime::{Instant, sleep_until};

/// How many copies are sent: with three hosts of which two are stopped, the last one reaches the third.
const MOST: u32 = 2;

/// How one of several exchanges is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// The first one, made as usual.
    Usual,
    /// A copy: over a connection of its own, to another address if there is one.
    Afresh,
}

/// The first answer of `exchange` and its copies. The first copy is sent `after` this time and the second after three
/// times as long, unless there is `enough` without it. Also returns whether copies were sent.
///
/// A copy that is refused ends the wait: something is there to refuse it, and the next attempt will reach it. After any
/// other failure the usual exchange has the last word, because a realm that does not know copies takes one for an
/// error.
pub(crate) async fn with_copies<T, F: Future<Output = Result<T, Failure>>>(
    after: Option<Duration>,
    enough: &watch::Receiver<bool>,
    exchange: impl Fn(Way) -> F,
) -> (Result<T, Failure>, bool) {
    let started = |way| {
        let exchange = exchange(way);
        async move { (way, exchange.await) }
    };
    let mut under_way = FuturesUnordered::from_iter([started(Way::Usual)]);
    let (begun, mut copies, mut usual) = (Instant::now(), 0, None);
    loop {
        let due = after.filter(|_| copies < MOST).map(|after| begun + after * (2 * copies + 1));
        let copy = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = under_way.next() => match ended {
                Some((_, Ok(answer))) => return (Ok(answer), copies > 0),
                Some((_, Err(refused @ Failure::Refused(_)))) => return (Err(refused), copies > 0),
                Some((Way::Usual, Err(lost @ Failure::Lost(_)))) => usual = Some(lost),
                Some((Way::Usual, Err(failure))) => return (Err(failure), copies > 0),
                Some((Way::Afresh, Err(_))) => {}
                None => {}
            },
            () = copy => {
                copies += 1;
                if !*enough.borrow() {
                    under_way.push(started(Way::Afresh));
                }
            }
        }
        // The next attempt is the caller's.
        if under_way.is_empty() {
            return (Err(usual.expect("the usual exchange has failed")), copies > 0);
        }
    }
}
