//! Steps about realms and groups: who may hold the seed, and who is a member of what; and the oracle's rules about
//! that.

use super::keys::{Hosts, device_key, hash, hosts_realm};
use super::parts::{DEVICES, Exported, Group, MAX_GROUPS, Member};
use super::step::{Approval, HostsRealm, Invitation, Made, Members};
use super::world::World;
use crate::model::Trace;
use ed25519_dalek::SigningKey;
use strongroom_proto::enrolment::{EnrolmentRequest, ExportApproval, RealmPolicy, SealedRealm};
use strongroom_proto::hsm::{Reply, Request};
use strongroom_proto::ids::{BuildDigest, Digest, GroupId, HsmId, Mac, Nonce, RealmId, X25519Public};
use strongroom_proto::statement::{GroupStatement, MemberStatement};
use strongroom_testkit::founding::{custodian_key, sign};

/// A device key whose secret the host knows.
const HOSTS_SECRET: [u8; 32] = [9; 32];

impl World {
    pub(super) fn new_group(&mut self, at: usize, of: u8, members: Members) {
        if self.groups.len() >= MAX_GROUPS || self.hosts_own[at] {
            return;
        }
        let named = (0..DEVICES).filter(|d| of >> d & 1 == 1);
        let named = named.filter(|d| members != Members::WithoutMaker || *d != at);
        let named: Vec<usize> = named.filter(|d| self.statuses[*d].realm.is_some()).collect();
        let statement = |d: &usize| self.statuses[*d].realm.as_ref().map(|realm| realm.member);
        let mut statements: Vec<MemberStatement> = named.iter().filter_map(statement).collect();
        match members {
            Members::Proper | Members::WithoutMaker => {}
            Members::Repeated => statements.extend(statements.first().copied()),
            Members::Invented => {
                let mac = Mac(Digest(hash("strongroom realm member 1", &[&[9; 16]])));
                statements.push(MemberStatement { hsm: HsmId([9; 16]), mac });
            }
        }
        let proper =
            members == Members::Proper && named.contains(&at) && named.iter().all(|d| !self.hosts_own[*d]);
        let Reply::Group(statement) = self.send(at, "NewGroup", &Request::NewGroup(statements)) else {
            return;
        };
        if !proper {
            let what = format!("HSM {at} made a group of members that no HSM stated, or not of itself");
            return self.violate("members fixed inside", what);
        }
        let group = self.learn(&statement);
        self.members[at][group].joined = true;
    }

    /// The number of a group that an HSM has stated.
    pub(super) fn learn(&mut self, statement: &GroupStatement) -> usize {
        if let Some(known) = self.groups.iter().position(|group| group.id == statement.group) {
            return known;
        }
        if statement.genesis && self.groups.iter().any(|group| group.statement.genesis) {
            let what = "a second group of the realm owns the whole space".to_owned();
            self.violate("one genesis", what);
        }
        let bit = |hsm: &HsmId| self.statuses.iter().position(|status| status.hsm == *hsm);
        let members = statement.members.iter().filter_map(bit).fold(0, |bits, d| bits | 1 << d);
        self.traces.push(Trace::new(statement));
        self.groups.push(Group { id: statement.group, statement: statement.clone(), members });
        // More than were asked for: one that was made as the power failed is discovered at the restart.
        for groups in &mut self.members {
            groups.resize(groups.len().max(self.groups.len()), Member::default());
        }
        self.groups.len() - 1
    }

    pub(super) fn join(&mut self, at: usize, group: usize, invitation: Invitation) {
        let (named, joined) = (self.groups[group].members >> at & 1 == 1, self.members[at][group].joined);
        let left = self.members[at][group].left;
        let mut statement = self.groups[group].statement.clone();
        match invitation {
            Invitation::Proper => {}
            Invitation::Alone => statement.members = vec![self.statuses[at].hsm],
            Invitation::OtherGenesis => statement.genesis = !statement.genesis,
            Invitation::OtherGroup => statement.group = GroupId([9; 16]),
            Invitation::HostsMac => {
                statement.members = vec![self.statuses[at].hsm];
                statement.mac = Mac(Digest(hash("strongroom group 1", &[&statement.group.0])));
            }
        }
        let Reply::Group(_) = self.send(at, "JoinGroup", &Request::JoinGroup(statement)) else { return };
        if self.broken == Some(at) {
            self.members[at][group].joined = true;
            return;
        }
        let (rule, unless) = ("members fixed inside", invitation == Invitation::Proper);
        if !unless || self.hosts_own[at] {
            return self.violate(rule, format!("HSM {at} joined with a list that no HSM stated"));
        }
        if !named {
            return self.violate(rule, format!("HSM {at} joined group {group}, which does not name it"));
        }
        if left {
            return self
                .violate("ends for good", format!("HSM {at} joined group {group} anew, which it had left"));
        }
        if joined {
            return self.violate(rule, format!("HSM {at} joined group {group} a second time"));
        }
        self.members[at][group].joined = true;
    }

    pub(super) fn export(&mut self, n: Made, at: usize, to: usize, signers: u8, how: Approval) {
        if self.hosts_own[at] {
            return;
        }
        if (how != Approval::OldNonce || self.nonces[at].1.is_none())
            && let Reply::ExportNonce(nonce) = self.send(at, "ExportNonce", &Request::ExportNonce)
        {
            self.nonces[at] = (Some(nonce), Some(nonce));
        }
        let Some(nonce) = self.nonces[at].1 else { return };
        let request = self.enrolment_request(to, how == Approval::OldImportNonce);
        let Some(mut proper) = self.statuses[at].offer(nonce, request) else { return };
        // What custodians see looks right: they cannot know who drew a nonce, or what a device runs.
        match how {
            Approval::OtherExporter => proper.exporter = self.statuses[(at + 1) % DEVICES].hsm,
            Approval::OtherBuild => proper.importer_build = BuildDigest([7; 32]),
            Approval::SmallOrder => proper.device_key = X25519Public([0; 32]),
            _ => {}
        }
        let mut asked = proper.clone();
        match how {
            Approval::HostsKey => asked.device_key = device_key(&HOSTS_SECRET),
            Approval::OtherRealm => asked.realm = RealmId([9; 16]),
            _ => {}
        }
        let (mut signatures, mut valid) = (Vec::new(), 0);
        for (i, key) in self.founding.custodians.iter().enumerate().filter(|(i, _)| signers >> i & 1 == 1) {
            let stranger = SigningKey::from_bytes(&[200 + i as u8; 32]);
            let is_stranger = how == Approval::Strangers;
            // The first custodian belongs to the host; the others sign only for the importer.
            let signed = if i == 0 || is_stranger { &asked } else { &proper };
            let signature = sign(if is_stranger { &stranger } else { key }, &signed.digest());
            signatures.extend(vec![signature; if how == Approval::Twice { 2 } else { 1 }]);
            valid += u32::from(!is_stranger && *signed == asked);
        }
        let request = Request::ExportRealm(asked.clone(), signatures.clone());
        let Reply::Exported(sealed) = self.send(at, "ExportRealm", &request) else { return };
        let rule = "custodians";
        if valid < 2 {
            return self.violate(rule, format!("HSM {at} gave the seed with {valid} of 2 approvals"));
        }
        if self.used_nonces.contains(&nonce) {
            return self.violate(rule, format!("HSM {at} gave the seed twice on one approval"));
        }
        if self.nonces[at].0 != Some(nonce) {
            return self.violate(rule, format!("HSM {at} gave the seed for a nonce of before its restart"));
        }
        if asked.exporter != self.statuses[at].hsm || asked.realm != self.founding.realm.realm {
            return self.violate(rule, format!("HSM {at} gave the seed on an approval for another HSM"));
        }
        if asked.device_key == X25519Public([0; 32]) {
            return self.violate(rule, format!("HSM {at} gave the seed under a key that everybody knows"));
        }
        self.used_nonces.push(nonce);
        self.sealed.insert(n, Exported { sealed, to, approval: asked, signatures });
    }

    /// The offer of an HSM that has the realm, with a new nonce of its own unless an old one is wanted.
    fn enrolment_request(&mut self, at: usize, old: bool) -> EnrolmentRequest {
        if !old && let Reply::ImportNonce(nonce) = self.send(at, "ImportNonce", &Request::ImportNonce) {
            self.import_nonces[at] = (Some(nonce), Some(nonce));
        }
        self.statuses[at].request(self.import_nonces[at].1.unwrap_or(Nonce([9; 16])))
    }

    pub(super) fn join_realm(&mut self, at: usize, sealed: Option<Made>, hosts: Option<HostsRealm>) {
        let exported = sealed.and_then(|made| self.sealed.get(&made)).cloned();
        let request = match (hosts, &exported) {
            (Some(hosts), exported) => self.seal_hosts_realm(at, hosts, exported.clone()),
            (None, exported) => exported.as_ref().map(|exported| exported.sealed.clone()),
        };
        let Some(request) = request else { return };
        let (had, open) = (self.statuses[at].realm.is_some(), self.import_nonces[at].0);
        let Reply::Device(now) = self.send(at, "JoinRealm", &Request::JoinRealm(request)) else { return };
        self.import_nonces[at].0 = None;
        if had {
            return self.violate("one realm", format!("HSM {at} has a realm and took another seed"));
        }
        let wrong = match (hosts, exported) {
            (Some(HostsRealm::OwnPolicy), _) => None,
            (Some(HostsRealm::Newer), _) => Some(("one realm", "in a form that it does not know")),
            (Some(HostsRealm::HonestPolicy | HostsRealm::OneTwice), _) => {
                Some(("custodians", "that one custodian approved, and no other"))
            }
            (Some(HostsRealm::BehindApproval), _) => Some(("custodians", "that no custodian approved")),
            (None, Some(exported)) if exported.to != at => Some(("one realm", "that was sealed for another")),
            (None, Some(exported)) if exported.approval.importer() != self.statuses[at].identity() => {
                Some(("custodians", "on an approval of another device"))
            }
            (None, Some(exported)) if Some(exported.approval.importer_nonce) != open => {
                Some(("custodians", "on an approval for another time"))
            }
            (None, _) => None,
        };
        if let Some((rule, what)) = wrong {
            return self.violate(rule, format!("HSM {at} took a seed {what}"));
        }
        self.judge_status(at, &now);
    }

    /// A realm of the host's own, for this HSM.
    fn seal_hosts_realm(
        &mut self,
        at: usize,
        how: HostsRealm,
        approved: Option<Exported>,
    ) -> Option<SealedRealm> {
        // An approval that was given earlier names the nonce that is open.
        let to = self.enrolment_request(at, how == HostsRealm::BehindApproval);
        let (realm, public_key) = hosts_realm();
        let hosts = &self.founding.custodians[0];
        let policy = match how {
            HostsRealm::HonestPolicy | HostsRealm::BehindApproval => self.founding.realm.policy.clone(),
            HostsRealm::OwnPolicy | HostsRealm::Newer => {
                RealmPolicy { custodians: vec![custodian_key(hosts)], threshold: 1, smallest_group: None }
            }
            HostsRealm::OneTwice => {
                RealmPolicy { custodians: vec![custodian_key(hosts); 2], threshold: 2, smallest_group: None }
            }
        };
        let (hsm, nonce) = (HsmId([0x68; 16]), Nonce([0x68; 16]));
        let mut approval = ExportApproval { exporter: hsm, ..self.statuses[0].offer(nonce, to)? };
        (approval.realm, approval.public_key, approval.policy) = (realm, public_key, policy);
        let mut signatures = vec![sign(hosts, &approval.digest())];
        if how == HostsRealm::BehindApproval {
            (approval, signatures) = approved.map(|exported| (exported.approval, exported.signatures))?;
        }
        let version = if how == HostsRealm::Newer { 3 } else { 2 };
        Hosts { version, approval: &approval, signatures: &signatures }.seal()
    }
}
