//! Entries and statements that no HSM made, as the host writes them.

use super::forgery::{Forgery, Lie};
use super::keys::hash;
use super::parts::{Known, MEMBERS};
use super::step::Made;
use super::world::World;
use strongroom_proto::entry::Partition;
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index, Mac};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed, Past};
use strongroom_proto::transfer::Transfer;

impl World {
    /// A statement of capture; or one that the host wrote, or one of the past, dressed up as one.
    pub(super) fn captured_or_dressed(&self, statement: Made) -> Option<Captured> {
        let past = self.pasts.get(&statement);
        let dressed = past.map(|Past { hsm, index, hash, mac }| Captured {
            hsm: *hsm,
            index: *index,
            hash: *hash,
            mac: *mac,
        });
        let other = self.lies.get(&statement).copied().or(dressed);
        self.statements.get(&statement).map(|(_, s)| *s).or(other)
    }

    /// A statement of commit, or another that is dressed up as one.
    pub(super) fn commit_or_dressed(&self, statement: Made) -> Option<Committed> {
        let other = self.captured_or_dressed(statement);
        let dressed = |Captured { hsm, index, hash, mac }| Committed { hsm, index, hash, mac };
        self.commits.get(&statement).map(|(_, committed)| *committed).or(other.map(dressed))
    }

    pub(super) fn forge(&mut self, n: Made, entry: Made, how: Forgery) {
        let Some(known) = self.entries.get(&entry) else { return };
        let (mut entry, parent) = (known.entry.clone(), known.parent);
        let (group, tree, records) = (known.group, known.tree.clone(), known.records.clone());
        let holds = known.holds.clone();
        match how {
            Forgery::OtherPrev => entry.prev = EntryHash([5; 32]),
            Forgery::NoPartitions => entry.partitions.clear(),
            Forgery::LaterIndex => entry.index = Index(entry.index.0.saturating_add(1)),
            Forgery::OtherGroup => {
                let next = self.groups.get(group + 1).or(self.groups.first());
                entry.group = next.map_or(GroupId([5; 16]), |group| group.id);
            }
            Forgery::StatementsMac => {
                let about = self.statements.values().find(|(_, s)| s.hash == known.hash);
                entry.events_hash = Digest([6; 32]);
                entry.mac = about.map_or(entry.mac, |(_, statement)| statement.mac);
            }
            Forgery::LetGo => {
                let Some(Transfer::Incoming { id, source, prefix, .. }) = entry.open.last().copied() else {
                    return;
                };
                let (destination, root) = (entry.group, Digest::EMPTY);
                let decisions = entry.transfers;
                (entry.group, entry.transfers) = (source, entry.transfers + 8);
                entry.open = vec![Transfer::Outgoing { id, destination, prefix, root, decisions }];
            }
            Forgery::OwnsAll => {
                entry.partitions = vec![Partition { prefix: Prefix::WHOLE, root: Digest::EMPTY }];
            }
            Forgery::HostsMac => {
                entry.events_hash = Digest([5; 32]);
                entry.mac = Mac(Digest(hash("strongroom entry mac 1", &[&entry.hash().0])));
            }
        }
        let hash = entry.hash();
        if self.by_hash.contains_key(&hash) {
            return;
        }
        self.by_hash.insert(hash, n);
        let known = Known {
            entry,
            hash,
            parent,
            group,
            tree,
            records,
            holds,
            takes: None,
            kept: Vec::new(),
            events: Vec::new(),
            stated: 0,
            is_committed: false,
            is_forged: true,
        };
        self.entries.insert(n, known);
    }

    pub(super) fn lie(&mut self, n: Made, statement: Made, entry: Made, how: Lie) {
        let Some(known) = self.entries.get(&entry) else { return };
        let of = |Committed { hsm, index, hash, mac }| Captured { hsm, index, hash, mac };
        let commit = self.commits.get(&statement).map(|(_, committed)| of(*committed));
        let Some(mut lie) = commit.or(self.captured_or_dressed(statement)) else { return };
        if how == Lie::OtherHsm {
            let at = self.statuses.iter().position(|status| status.hsm == lie.hsm).unwrap_or(0);
            lie.hsm = self.statuses[(at + 1) % MEMBERS].hsm;
        } else {
            (lie.index, lie.hash) = (known.entry.index, known.hash);
        }
        match how {
            Lie::OtherEntry | Lie::OtherHsm => {}
            Lie::EntrysMac => lie.mac = known.entry.mac,
            Lie::HostsMac => lie.mac = Mac(Digest(hash("strongroom captured 1", &[&lie.hash.0]))),
        }
        self.lies.insert(n, lie);
    }
}
