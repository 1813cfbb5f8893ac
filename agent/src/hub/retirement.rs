//! Retiring a group: its last entry, and every member's leaving.
//!
//! Given again, it goes on: the last entry is shown by whoever leads, and an HSM that has left says so for good, which is
//! proof enough for the others.

use super::Hub;
use super::leftovers::stored_there;
use super::orders::{OrderError, Wanted};
use super::publishing::Ended;
use crate::grpc::peer::LeaveRequest;
use crate::tree::Emptied;
use std::collections::BTreeSet;
use strongroom_proto::change::{Change, Evidence, Retirement};
use strongroom_proto::hsm::{Refusal, Reply};
use strongroom_proto::ids::{GroupId, HsmId};
use strongroom_replica::ask;
use strongroom_replica::stored::Snapshot;
use tonic::Status;

/// Why a group was not retired.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum RetireError {
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error("the HSM here did not answer; run this again")]
    Lost,
}

/// A member, and why it has not left, if it has not.
pub(crate) type Left = (HsmId, Option<String>);

impl Hub {
    /// Retires a group that owns nothing, and has every member leave it that can be reached.
    pub(crate) async fn retire(&self, group: GroupId) -> Result<Vec<Left>, RetireError> {
        let own = self.hsm_id();
        let here = self.device().and_then(|device| {
            let mut groups = device.groups.into_iter().map(|status| status.statement);
            groups.find(|statement| statement.group == group)
        });
        let is_here = here.is_some();
        let mut members: BTreeSet<HsmId> = here.into_iter().flat_map(|statement| statement.members).collect();
        members.extend(self.peers.near(&group));
        let proof = self.proof(group).await?;
        let mut left = Vec::new();
        for member in members.into_iter().filter(|member| Some(*member) != own) {
            if let Some(outcome) = self.have_leave(member, group, &proof).await {
                left.push((member, outcome));
            }
        }
        // Last: while it is a member, whoever is missing can still be found from here.
        if let Some(own) = own.filter(|_| is_here) {
            let leave = ask::Leave(group, Some(proof.clone()));
            self.ask_hsm(leave).await.map_err(|_| RetireError::Lost)?;
            left.push((own, None));
        }
        self.refresh().await.map_err(|_| RetireError::Lost)?;
        self.start_groups();
        self.publish_to_the_end(group, proof).await;
        // While anybody may lead from the last entry, its tree may be open.
        let are_gone = !left.is_empty() && left.iter().all(|(_, why)| why.is_none());
        if self.tree(group, 1).sweeps() && are_gone {
            self.empty(group).await;
        }
        Ok(left)
    }

    /// Publishes the rest of a retired group's log, if logs are published.
    async fn publish_to_the_end(&self, group: GroupId, proof: Retirement) {
        let last = match proof {
            Retirement::Entry(last) => Some(*last),
            Retirement::Stated(_) => self.last_entry(group).await,
        };
        let realm = self.device().and_then(|device| device.realm);
        let key = realm.and_then(|realm| Some((realm.realm, realm.checkpoint_key?)));
        let (Some(last), Some((realm, key)), false) = (last, key, self.publish.period.is_zero()) else {
            return;
        };
        let (store, hsm, settings) = (self.store.clone(), self.hsm.clone(), self.publish.clone());
        Ended { realm, group, key, store, hsm, settings }.publish(&last).await;
    }

    /// Deletes what is stored of a group that has retired, except what it reached. Its log stays.
    async fn empty(&self, group: GroupId) {
        let tree = self.tree(group, 1);
        let emptied = async {
            let reader = tree.reader().await?;
            let leftovers = match &reader {
                Some(reader) => reader.leftovers().await?,
                None => Vec::new(),
            };
            drop(reader);
            tree.empty_retired(&stored_there(&tree, &self.store, &leftovers).await).await
        };
        match emptied.await {
            Ok(Emptied::Done { objects, bytes }) => {
                tracing::info!(%group, objects, bytes, "what the retired group had stored is deleted; its last entry and its log stay");
            }
            Ok(Emptied::NotRetired) => {
                tracing::info!(%group, "the stored tree does not show that the group has retired, and stays");
            }
            Ok(Emptied::Kept) => tracing::info!(
                %group,
                "the retired group's stored tree stays: it is not certain that all of it is stored where it went; retire the \
                 group again later"
            ),
            Err(failure) => tracing::warn!(
                %group, %failure,
                "not all that the retired group had stored is deleted; retire the group again"
            ),
        }
    }

    /// The last entry of a group, if it is stored.
    pub(crate) async fn last_entry(&self, group: GroupId) -> Option<Evidence> {
        let stored = self.tree(group, 1).read_snapshot().await.ok().flatten();
        let Snapshot { entry, committed } = stored.filter(|stored| stored.entry.last)?;
        Some(Evidence { entry, committed })
    }

    /// That the group has retired; has it retire, if it has not.
    async fn proof(&self, group: GroupId) -> Result<Retirement, RetireError> {
        if let Ok(stated) = self.ask_hsm(ask::Leave(group, None)).await {
            return Ok(Retirement::Stated(stated));
        }
        // Nobody leads a group for ever once its last entry is committed; but then it is stored.
        if let Some(last) = self.last_entry(group).await {
            return Ok(Retirement::Entry(Box::new(last)));
        }
        match self.shown(group, &Wanted::Step(Box::new(Change::Retire))).await {
            // Its last entry was made before.
            Ok(_) | Err(OrderError::Refused { refusal: Refusal::Retired, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // Nobody leaves before it is stored: whatever is open with it in other groups ends by it, whoever leads there.
        let last = self.shown(group, &Wanted::Show(true)).await?;
        if last.entry.last { Ok(Retirement::Entry(Box::new(last))) } else { Err(OrderError::Unknown.into()) }
    }

    /// Has a member leave. `None` if it is none; else why it has not left, if it has not.
    async fn have_leave(&self, member: HsmId, group: GroupId, proof: &Retirement) -> Option<Option<String>> {
        let proof = minicbor::to_vec(proof).unwrap_or_default();
        let to = member.0.to_vec().into();
        let request = LeaveRequest { to, group: group.0.to_vec().into(), proof: proof.into() };
        let reply: Result<Reply, Status> = match self.peers.leave(member, request).await {
            None => return Some(Some("its agent cannot be reached".into())),
            Some(Err(status)) => Err(status),
            Some(Ok(reply)) => {
                minicbor::decode(&reply.reply).map_err(|_| Status::internal("it makes no sense"))
            }
        };
        match reply {
            Ok(Reply::Retired(_)) => Some(None),
            Ok(Reply::Refused(Refusal::NotMember)) => None,
            Ok(Reply::Refused(refusal)) => Some(Some(refusal.to_string())),
            Ok(_) => Some(Some("its answer makes no sense".into())),
            Err(status) => Some(Some(status.message().to_owned())),
        }
    }
}
