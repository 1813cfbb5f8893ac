//! What an agent says about itself, decoded.

use crate::grpc::peer::{GroupStatus, PeerStatus, StatusReply};
use strongroom_proto::hsm::DeviceStatus;
use strongroom_proto::ids::{GroupId, HsmId, Index};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::Status;

/// One agent: what its HSM says, and what its replicas are doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentReport {
    /// What the HSM last said about itself; `None` if it has never answered.
    pub device: Option<DeviceStatus>,
    /// Whether the HSM answers now.
    pub hsm_answers: bool,
    /// What the replicas are doing.
    pub groups: Vec<GroupReport>,
    /// How the last calls to the object store failed.
    pub store: Option<String>,
    /// Why it does not serve, if its store is the reason.
    pub unready: Option<String>,
    /// While its front door relays requests: to whom, and why.
    pub relays: Option<String>,
}

/// One group, as one member's agent sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupReport {
    /// The group.
    pub group: GroupId,
    /// `leader`, `witness`, `candidate`, `starting` or `stopped`.
    pub role: String,
    /// The member that seems to lead.
    pub leader: Option<HsmId>,
    /// The entry that the HSM has captured.
    pub captured: Index,
    /// The newest entry that is known here to be committed; 0 if that is not known.
    pub committed: Index,
    /// The newest entry known to be in the store.
    pub tip: Index,
    /// Whether it leads and has the stored tree, so that it can serve.
    pub serving: bool,
    /// What the newest snapshot reaches that is known here; 0 for none.
    pub snapshot: Index,
    /// Client requests not yet answered.
    pub waiting: u64,
    /// What needs an operator.
    pub fault: Option<String>,
    /// What is wrong with the stored tree.
    pub tree: Option<String>,
    /// The prefixes of records that it owns.
    pub prefixes: Vec<Prefix>,
}

/// One configured peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerReport {
    /// Its address, as configured.
    pub address: String,
    /// What its agent says; `None` if the agent cannot be reached.
    pub agent: Option<AgentReport>,
    /// Why it cannot be reached.
    pub why: String,
    /// The HSM that was last seen there.
    pub hsm: Option<HsmId>,
}

impl AgentReport {
    pub(super) fn from_wire(reply: StatusReply) -> Self {
        Self {
            device: minicbor::decode(&reply.device).ok(),
            hsm_answers: reply.hsm_answers,
            groups: reply.groups.into_iter().filter_map(GroupReport::from_wire).collect(),
            store: said(reply.store),
            unready: said(reply.unready),
            relays: said(reply.relays),
        }
    }
}

impl PeerReport {
    pub(super) fn from_wire(peer: PeerStatus) -> Self {
        let hsm = peer.hsm.as_ref().try_into().ok().map(HsmId);
        Self { address: peer.address, agent: peer.status.map(AgentReport::from_wire), why: peer.why, hsm }
    }
}

fn said(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl GroupReport {
    fn from_wire(group: GroupStatus) -> Option<Self> {
        Some(Self {
            group: GroupId(group.group.as_ref().try_into().ok()?),
            role: group.role,
            leader: group.leader.as_ref().try_into().ok().map(HsmId),
            captured: Index(group.captured),
            committed: Index(group.committed),
            tip: Index(group.tip),
            serving: group.serving,
            snapshot: Index(group.snapshot),
            waiting: group.waiting,
            fault: said(group.fault),
            tree: said(group.tree),
            prefixes: minicbor::decode(&group.prefixes).unwrap_or_default(),
        })
    }
}

pub(super) fn group_to_wire(group: GroupId, status: Status, tree: Option<String>) -> GroupStatus {
    GroupStatus {
        group: group.0.to_vec().into(),
        role: status.role.name().into(),
        leader: status.leader.map(|leader| leader.0.to_vec()).unwrap_or_default().into(),
        captured: status.captured.0,
        committed: status.committed.0,
        tip: status.tip.0,
        serving: status.serving,
        snapshot: status.snapshot.0,
        waiting: u64::try_from(status.waiting).unwrap_or(u64::MAX),
        fault: status.fault.map(|fault| fault.to_string()).unwrap_or_default(),
        tree: tree.unwrap_or_default(),
        prefixes: minicbor::to_vec(&status.prefixes).unwrap_or_default().into(),
    }
}
