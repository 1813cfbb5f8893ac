//! What an agent says about itself, decoded.

use crate::grpc::peer::{Copying as Copied, GroupStatus, PeerStatus, PrefixLoad, StatusReply};
use crate::hub::{Counted, PARTS};
use crate::peers::Announcement;
use strongroom_proto::entry::{MAX_OPEN, MAX_PARTITIONS};
use strongroom_proto::hsm::{DeviceStatus, MAX_GROUPS};
use strongroom_proto::ids::{GroupId, HsmId, Index};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_replica::Status;

/// In how many equal parts of a prefix requests are counted.
pub const LOAD_PARTS: usize = PARTS;
/// The longest text that is taken from another agent, in characters.
const MAX_TEXT: usize = 500;

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
    /// Its version; `None` of one from before this was said.
    pub version: Option<String>,
    /// What is being copied there, from one group's stored tree to another's.
    pub copying: Vec<Copying>,
}

/// A prefix that is being copied before it changes hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copying {
    /// The group that has it.
    pub from: GroupId,
    /// The group that is to have it.
    pub to: GroupId,
    /// The prefix.
    pub prefix: Prefix,
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
    /// Its transfers that are open.
    pub open: Vec<Transfer>,
    /// Whether it has retired.
    pub retired: bool,
    /// How many requests clients sent lately, by prefix, in equal parts of it; of a leader.
    pub load: Vec<(Prefix, [u32; LOAD_PARTS])>,
    /// In how many seconds those were sent; 0 if that was not counted.
    pub load_seconds: u32,
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
    /// For how many seconds it has not answered; `None` if it answers, or never has.
    pub silent_seconds: Option<u64>,
    /// What it says in the store, if that was read. A hint.
    pub announced: Option<Announcement>,
}

impl AgentReport {
    pub(crate) fn from_wire(reply: StatusReply) -> Self {
        let groups = reply.groups.into_iter().take(MAX_GROUPS).filter_map(GroupReport::from_wire);
        let copying = reply.copying.into_iter().take(MAX_GROUPS).filter_map(Copying::from_wire);
        Self {
            device: minicbor::decode(&reply.device).ok().map(readable),
            hsm_answers: reply.hsm_answers,
            groups: groups.collect(),
            version: said(reply.version),
            copying: copying.collect(),
            store: said(reply.store),
            unready: said(reply.unready),
            relays: said(reply.relays),
        }
    }
}

impl PeerReport {
    pub(crate) fn from_wire(peer: PeerStatus) -> Self {
        let hsm = peer.hsm.as_ref().try_into().ok().map(HsmId);
        let mut announced = Announcement::from_bytes(&peer.announced).ok();
        if let Some(announced) = &mut announced {
            announced.version = plain(&announced.version);
        }
        Self {
            address: plain(&peer.address),
            agent: peer.status.map(AgentReport::from_wire),
            why: plain(&peer.why),
            hsm,
            silent_seconds: Some(peer.silent_seconds).filter(|seconds| *seconds > 0),
            announced,
        }
    }
}

/// A text of another agent as it may be shown: bounded, on one line, and without what moves a terminal's cursor or turns
/// the direction of writing.
fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() || turns(c) { ' ' } else { c }).collect()
}

fn said(text: String) -> Option<String> {
    (!text.is_empty()).then(|| plain(&text))
}

fn readable(mut device: DeviceStatus) -> DeviceStatus {
    device.version = plain(&device.version);
    device.groups.truncate(MAX_GROUPS);
    device
}

fn group_id(bytes: &[u8]) -> Option<GroupId> {
    bytes.try_into().ok().map(GroupId)
}

impl Copying {
    fn from_wire(copied: Copied) -> Option<Self> {
        let prefix = minicbor::decode(&copied.prefix).ok()?;
        Some(Self { from: group_id(&copied.from)?, to: group_id(&copied.to)?, prefix })
    }
}

impl GroupReport {
    fn from_wire(group: GroupStatus) -> Option<Self> {
        Some(Self {
            group: GroupId(group.group.as_ref().try_into().ok()?),
            role: plain(&group.role),
            leader: group.leader.as_ref().try_into().ok().map(HsmId),
            captured: Index(group.captured),
            committed: Index(group.committed),
            tip: Index(group.tip),
            serving: group.serving,
            snapshot: Index(group.snapshot),
            waiting: group.waiting,
            fault: said(group.fault),
            tree: said(group.tree),
            prefixes: first(minicbor::decode(&group.prefixes).unwrap_or_default(), MAX_PARTITIONS),
            open: first(minicbor::decode(&group.open).unwrap_or_default(), MAX_OPEN),
            retired: group.retired,
            load: group.load.into_iter().take(MAX_PARTITIONS).filter_map(load_of).collect(),
            load_seconds: group.load_seconds,
        })
    }
}

fn first<T>(mut all: Vec<T>, most: usize) -> Vec<T> {
    all.truncate(most);
    all
}

fn load_of(load: PrefixLoad) -> Option<(Prefix, [u32; LOAD_PARTS])> {
    Some((minicbor::decode(&load.prefix).ok()?, load.parts.try_into().ok()?))
}

fn load_to_wire((prefix, parts): (Prefix, [u32; LOAD_PARTS])) -> PrefixLoad {
    PrefixLoad { prefix: minicbor::to_vec(prefix).unwrap_or_default().into(), parts: parts.to_vec() }
}

pub(super) fn copying_to_wire((from, to, prefix): (GroupId, GroupId, Prefix)) -> Copied {
    let prefix = minicbor::to_vec(prefix).unwrap_or_default().into();
    Copied { from: from.0.to_vec().into(), to: to.0.to_vec().into(), prefix }
}

pub(super) fn group_to_wire(
    group: GroupId,
    status: Status,
    tree: Option<String>,
    load: Option<Counted>,
) -> GroupStatus {
    let Counted { seconds, prefixes } = load.unwrap_or_default();
    GroupStatus {
        open: minicbor::to_vec(&status.open).unwrap_or_default().into(),
        retired: status.retired,
        load: prefixes.into_iter().map(load_to_wire).collect(),
        load_seconds: seconds,
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
