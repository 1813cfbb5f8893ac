//! Brings what the rules of [`super::check`] need from a realm's hosts, and remembers what they were content with.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use strongroom_proto::ids::GroupId;
use strongroom_tlog::Tile;
use strongroom_tlog::tile::FULL;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::check::{Head, Standing};
use super::error::HeadError;
use super::memory::MemoryError;
use super::{Demanded, Heads};
use crate::configuration::Realm;
use crate::copies::{Way, with_copies};
use crate::error::Cause;
use crate::failure::Failure;
use crate::link::{Link, VERSION_HEADER, unreadable};
use crate::retry::Backoff;
use crate::runtime::{SystemTime, UNIX_EPOCH};
use crate::transport::HttpResponse;

/// The longest checkpoint that is read, in bytes.
pub(super) const MAX_CHECKPOINT: usize = 64 * 1024;
/// The longest tile.
const MAX_TILE: usize = FULL as usize * 32;
/// How many tiles are fetched at once.
pub(super) const AT_ONCE: usize = 8;

/// Who asks, if it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    TheUser,
    Anybody,
}

impl Link {
    /// Sees that the log of a realm is as the application demands. A host may have read something old, or be the only one that is at
    /// fault: then others are asked, and the same again a moment later, as for requests. `enough` turns true once the realm is not
    /// needed.
    pub(crate) async fn demand_head(
        &self,
        realm: &Realm,
        heads: &Heads,
        demanded: &Demanded,
        enough: watch::Receiver<bool>,
    ) -> Result<(), Cause> {
        let _turn = demanded.turn.lock().await;
        let mut backoff = Backoff::new(self.retry, enough.clone());
        let mut refused = None;
        loop {
            let failure = match self.look(realm, heads, demanded, &enough).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let again = match &failure {
                Failure::Refused(_) | Failure::Lost(_) => backoff.pause().await,
                Failure::Fatal(Cause::Head(error)) if error.may_pass() => {
                    refused = Some(error.clone());
                    self.routes.leave(realm, self.routes.current(realm));
                    backoff.quick_pause().await
                }
                _ => false,
            };
            if !again {
                // A host that falls silent does not hide what it, or another, has shown.
                return Err(match (failure.is_transient(), refused) {
                    (true, Some(refused)) => Cause::Head(refused),
                    _ => failure.into_cause(),
                });
            }
        }
    }

    /// One look at the log.
    async fn look(
        &self,
        realm: &Realm,
        heads: &Heads,
        demanded: &Demanded,
        enough: &watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let shown = self.read(realm, Asks::TheUser, "tlog/mine", MAX_CHECKPOINT, enough).await?;
        let shown = shown.ok_or_else(|| refuse(HeadError::Unpublished))?;
        let head = Head::verify(&shown, &demanded.demand.statement).map_err(refuse)?;
        let remembered = heads.memory.load(head.log()).await.map_err(forgot)?;
        let standing = head.after(remembered.as_deref()).map_err(refuse)?;
        head.is_watched(&demanded.demand, unix_time()).map_err(refuse)?;
        match standing {
            Standing::Same => return Ok(()),
            Standing::First => {}
            Standing::Grown(old) => {
                let wanted = head.tiles_after(&old).map_err(refuse)?;
                let tiles = stream::iter(wanted).map(|tile| self.tile(realm, head.group, tile, enough));
                let tiles: BTreeMap<_, _> = tiles.buffer_unordered(AT_ONCE).try_collect().await?;
                head.goes_on(&old, remembered.as_deref().unwrap_or_default(), &tiles).map_err(refuse)?;
            }
        }
        heads.memory.save(head.log(), &head.text()).await.map_err(forgot)
    }

    /// A tile, or the full one at its place: a log deletes partial ones when it has that.
    pub(super) async fn tile(
        &self,
        realm: &Realm,
        group: GroupId,
        tile: Tile,
        enough: &watch::Receiver<bool>,
    ) -> Result<(Tile, Vec<u8>), Failure> {
        let partial = (!tile.is_full()).then_some(tile);
        for at in partial.into_iter().chain([tile.full()]) {
            let path = format!("tlog/{group}/{at}");
            if let Some(bytes) = self.read(realm, Asks::Anybody, &path, MAX_TILE, enough).await? {
                return Ok((tile, bytes.to_vec()));
            }
        }
        Err(refuse(HeadError::Unproven(format!("{tile} is not published"))))
    }

    /// What is at this path beside the realm's address for requests; none if there is nothing. Reading changes nothing, so it is
    /// copied as requests are.
    pub(crate) async fn read(
        &self,
        realm: &Realm,
        asks: Asks,
        path: &str,
        most: usize,
        enough: &watch::Receiver<bool>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let exchange = |way| self.read_by(way, realm, asks, path, most);
        with_copies(self.retry.copy_after, enough, exchange).await.0
    }

    async fn read_by(
        &self,
        way: Way,
        realm: &Realm,
        asks: Asks,
        path: &str,
        most: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let bearer = match asks {
            Asks::TheUser => Some(self.bearer(realm).await?),
            Asks::Anybody => None,
        };
        let authorization = bearer.iter().map(|bearer| ("Authorization", bearer.as_str()));
        let headers: Vec<_> = [VERSION_HEADER].into_iter().chain(authorization).collect();
        if way == Way::Afresh {
            self.routes.leave(realm, self.routes.current(realm));
        }
        let from = self.routes.current(realm);
        let url = from.join(path).map_err(|_| Failure::assertion("its address has no neighbours"))?;
        let answered = match way {
            Way::Usual => self.transport.get(&url, &headers, most).await,
            Way::Afresh => self.transport.get_afresh(&url, &headers, most).await,
        };
        let answer = answered.map_err(Failure::from).and_then(|http| body(http, most));
        if answer.as_ref().is_err_and(Failure::is_transient) {
            self.routes.leave(realm, from);
        }
        answer
    }
}

fn body(http: HttpResponse, most: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    match http.status {
        200 if http.body.len() <= most => Ok(Some(http.body)),
        200 => Err(Failure::Lost(format!("the answer is longer than {most} bytes"))),
        404 | 405 | 410 | 501 => Ok(None),
        _ => Err(unreadable(&http)),
    }
}

fn refuse(error: HeadError) -> Failure {
    Failure::Fatal(Cause::Head(error))
}

fn forgot(MemoryError(why): MemoryError) -> Failure {
    refuse(HeadError::Memory(why))
}

/// 0 before 1970: then all cosignatures are from the future.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
