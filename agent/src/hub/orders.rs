//! What is to be done about what a group owns, on its way to the group's leader, wherever that is.

use super::Hub;
use crate::tree::AdoptError;
use futures::future::join_all;
use minicbor::{Decode, Encode};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strongroom_proto::change::{Change, Evidence};
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::{Digest, GroupId, HsmId};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::{Order, Ordered};
use tokio::time::{Instant, sleep, timeout};

/// How long to look for a leader, and how often.
const SEARCH: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// How long leaders have to end: longer than they take.
const YIELD: Duration = Duration::from_secs(5);
/// How long the next ones have to begin.
const SUCCESSION: Duration = Duration::from_secs(3);
/// How many heartbeats of the next leader the other agents have, to hear of it and send nothing here any more.
const HEARD: u32 = 4;

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) enum Wanted {
    /// Show what is committed, and store it before if so wanted.
    #[n(0)]
    Show(#[n(0)] bool),
    #[n(1)]
    Split(#[n(0)] Prefix),
    #[n(2)]
    Merge(#[n(0)] Prefix),
    /// A step of a transfer.
    #[n(3)]
    Step(#[n(0)] Box<Change>),
    /// Copy what another group has stored below a prefix.
    #[n(4)]
    Adopt(#[n(0)] Prefix, #[n(1)] GroupId),
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) enum End {
    /// It is done; what is committed by now.
    #[n(0)]
    Done(#[n(0)] Box<Evidence>),
    #[n(1)]
    Refused(#[n(0)] Refusal),
    /// Nothing was done. The leader, if it is known.
    #[n(2)]
    NotLeader(#[n(0)] Option<HsmId>),
    /// It may have been done.
    #[n(3)]
    Unknown,
    /// What lies below this root was copied, so many records of it this time.
    #[n(4)]
    Adopted(#[n(0)] Digest, #[n(1)] u64),
    /// Nothing was done, or not all, and why.
    #[n(5)]
    Failed(#[n(0)] String),
}

impl From<Ordered> for End {
    fn from(ordered: Ordered) -> Self {
        match ordered {
            Ordered::Done(shown) => Self::Done(shown),
            Ordered::Refused(refusal) => Self::Refused(refusal),
            Ordered::NotLeader(leader) => Self::NotLeader(leader),
            Ordered::Busy => Self::Failed("too many orders wait at the group's leader".into()),
            Ordered::Unknown => Self::Unknown,
        }
    }
}

/// Says that something is being copied, until dropped.
struct Copying<'a>(&'a Hub, (GroupId, GroupId, Prefix));

impl<'a> Copying<'a> {
    fn begin(hub: &'a Hub, what: (GroupId, GroupId, Prefix)) -> Self {
        hub.copying.lock().push(what);
        Self(hub, what)
    }
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        let mut copying = self.0.copying.lock();
        let at = copying.iter().position(|what| *what == self.1);
        at.map(|at| copying.swap_remove(at));
    }
}

/// Why an order was not carried out, or not known to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error(
        "no leader of group {0} is found; check with `group status` that it serves, and that a member's agent is a peer here"
    )]
    NoLeader(GroupId),
    #[error("the leader of group {group} refuses: {refusal}")]
    Refused { group: GroupId, refusal: Refusal },
    #[error("it is not known what became of the last step; run the command again: it looks, and goes on")]
    Unknown,
    #[error("group {group}: {why}")]
    Failed { group: GroupId, why: String },
}

impl Hub {
    /// Has other members lead the groups that are led here, and waits until they do: what other agents have sent here is
    /// answered, and what waits here goes on to the next leader.
    pub(crate) async fn yield_all(&self) {
        self.ends.store(true, Ordering::Relaxed);
        let groups: Vec<_> = self.known.read().groups.values().cloned().collect();
        let led: Vec<_> = groups.into_iter().filter(|group| group.members() > 1 && group.leads()).collect();
        if led.is_empty() {
            return;
        }
        let own = self.hsm_id();
        let yields = led.into_iter().map(|mut group| async move {
            let _ = timeout(YIELD, group.order(Order::Yield)).await;
            let another = async {
                while group.leader().is_none_or(|leader| Some(leader) == own) {
                    group.changed().await;
                }
            };
            let followed = tokio::select! {
                () = another => true,
                () = self.is_left_alone() => false,
                () = sleep(SUCCESSION) => false,
            };
            if !followed {
                tracing::warn!("no other member leads yet; clients wait for an election");
            }
            followed
        });
        if join_all(yields).await.contains(&true) {
            sleep(self.election.heartbeat * HEARD).await;
        }
    }

    /// Completes when no other agent answers.
    async fn is_left_alone(&self) {
        while self.peers.statuses_of_kept().await.iter().any(|peer| peer.status.is_some()) {
            sleep(PAUSE).await;
        }
    }

    /// Carries out an order if the group's leader is here.
    pub(crate) async fn order_here(&self, group: GroupId, wanted: Wanted) -> End {
        let replica = self.known.read().groups.get(&group).cloned();
        let Some(replica) = replica else { return End::NotLeader(None) };
        let order = match wanted {
            Wanted::Show(stored) => Order::Show { stored },
            Wanted::Split(prefix) => Order::Split(prefix),
            Wanted::Merge(prefix) => Order::Merge(prefix),
            Wanted::Step(change) => Order::Step(change),
            Wanted::Adopt(prefix, from) => {
                let copying = Copying::begin(self, (from, group, prefix));
                let end = self.adopt(&replica, prefix, from).await;
                drop(copying);
                return end;
            }
        };
        replica.order(order).await.into()
    }

    async fn adopt(&self, replica: &super::Group, prefix: Prefix, from: GroupId) -> End {
        let status = replica.status();
        if !status.serving {
            return End::NotLeader(status.leader.filter(|leader| Some(*leader) != self.hsm_id()));
        }
        let trees = self.device().map_or(1, |device| device.groups.len());
        match replica.tree().adopt(prefix, &self.tree(from, trees)).await {
            Ok(adopted) => End::Adopted(adopted.root, adopted.records),
            Err(AdoptError::Tree(strongroom_replica::stored::TreeFailure::Fenced)) => End::NotLeader(None),
            Err(error) => End::Failed(error.to_string()),
        }
    }

    /// Has a group's leader carry out an order.
    pub(crate) async fn order(&self, group: GroupId, wanted: &Wanted) -> Result<End, OrderError> {
        let deadline = Instant::now() + SEARCH;
        let bytes = minicbor::to_vec(wanted).map_err(|_| OrderError::Unknown)?;
        loop {
            let mut likely: Vec<HsmId> = Vec::new();
            match self.order_here(group, wanted.clone()).await {
                End::NotLeader(leader) => likely.extend(leader),
                end => return of_leader(group, end),
            }
            let mut tried = BTreeSet::new();
            // Whoever is named, and then whoever is there.
            let mut others = self.peers.near(&group);
            while let Some(next) = likely.pop().or_else(|| others.pop()) {
                if !tried.insert(next) {
                    continue;
                }
                let Some(answer) = self.peers.order(next, group, bytes.clone()).await else { continue };
                match answer.and_then(|end| minicbor::decode(&end).ok()).unwrap_or(End::Unknown) {
                    End::NotLeader(leader) => likely.extend(leader),
                    end => return of_leader(group, end),
                }
            }
            if Instant::now() >= deadline {
                return Err(OrderError::NoLeader(group));
            }
            sleep(PAUSE).await;
        }
    }

    /// [`Self::order`] for one that shows what is committed after it.
    pub(super) async fn shown(&self, group: GroupId, wanted: &Wanted) -> Result<Evidence, OrderError> {
        match self.order(group, wanted).await? {
            End::Done(shown) => Ok(*shown),
            _ => Err(OrderError::Unknown),
        }
    }
}

fn of_leader(group: GroupId, end: End) -> Result<End, OrderError> {
    match end {
        End::Refused(refusal) => Err(OrderError::Refused { group, refusal }),
        End::Failed(why) => Err(OrderError::Failed { group, why }),
        End::Unknown => Err(OrderError::Unknown),
        End::NotLeader(_) => Err(OrderError::NoLeader(group)),
        end => Ok(end),
    }
}
