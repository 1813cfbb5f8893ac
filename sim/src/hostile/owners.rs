//! What groups own: the steps that change it, and the oracle's rules on who may own, take and serve what.
//!
//! Foretells what an entry owns from what its HSM was asked, and never from what the entry says.

use super::changes::{Opening, Place, What};
use super::claims::Claim;
use super::clients::USERS;
use super::model::Records;
use super::parts::{Kept, LetGo};
use super::step::{Made, Step};
use super::world::World;
use minicbor::bytes::ByteVec;
use strongroom_proto::change::{Change, Evidence};
use strongroom_proto::entry::{Entry, MAX_PARTITIONS, MAX_PREFIX_BITS};
use strongroom_proto::hsm::{Made as MadeEntry, PrefixTree, Refusal, Reply, Request};
use strongroom_proto::ids::{RecordId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::{ClaimedTree, Tree};

/// What is known of an entry that a core made, besides the entry.
pub(super) struct New {
    pub(super) parent: Option<Made>,
    pub(super) tree: Tree,
    pub(super) records: Records,
    pub(super) holds: Vec<Prefix>,
    pub(super) takes: Option<TransferId>,
    pub(super) kept: Vec<Kept>,
    pub(super) events: Vec<ByteVec>,
}

impl World {
    /// What a group owns after an entry, by what it was asked.
    pub(super) fn holds(&self, group: usize, after: Option<Made>) -> Vec<Prefix> {
        match after.and_then(|after| self.entries.get(&after)) {
            Some(known) => known.holds.clone(),
            None if self.groups[group].statement.genesis => vec![Prefix::WHOLE],
            None => Vec::new(),
        }
    }

    /// What a group owns, as an entry says.
    pub(super) fn owned(&self, group: usize, after: Option<Made>) -> Vec<Prefix> {
        match after.and_then(|after| self.entries.get(&after)) {
            Some(known) => known.entry.partitions.iter().map(|p| p.prefix).collect(),
            None => self.holds(group, None),
        }
    }

    /// Whether a leader's group owns a user's record, after the leader's newest entry.
    pub(super) fn covers(&self, at: usize, group: usize, user: u8) -> bool {
        let newest = self.members[at][group].lead.as_ref().and_then(|lead| lead.newest);
        let record = self.clients().record(user);
        self.holds(group, newest).iter().any(|prefix| prefix.contains(&record))
    }

    /// The part of a tree below a prefix. Only users have leaves.
    pub(super) fn below(&self, whole: &Tree, prefix: Prefix) -> Tree {
        if prefix == Prefix::WHOLE {
            return whole.clone();
        }
        let mut tree = Tree::new(prefix);
        let records = (0..USERS).map(|user| self.clients().record(user)).filter(|r| prefix.contains(r));
        let leaves = records.filter_map(|r| Some((r, whole.get(&r).ok()??.clone())));
        tree.update(leaves).expect("it is empty, and they are below it");
        tree
    }

    /// The trees that a batch needs: of what the group owned after an entry, or of everything if that is not enough.
    pub(super) fn trees(
        &self,
        group: usize,
        after: Option<Made>,
        base: &Tree,
        ids: &[RecordId],
    ) -> Vec<PrefixTree> {
        let mut prefixes = self.owned(group, after);
        if ids.is_empty() {
            prefixes.truncate(1);
        } else {
            prefixes.retain(|prefix| ids.iter().any(|id| prefix.contains(id)));
            if prefixes.is_empty() {
                prefixes.push(Prefix::WHOLE);
            }
        }
        let tree = |prefix: Prefix| {
            let ids: Vec<_> = ids.iter().copied().filter(|id| prefix.contains(id)).collect();
            let partial = self.below(base, prefix).partial(&ids).ok()?;
            Some(PrefixTree { prefix, tree: ClaimedTree::from(&partial) })
        };
        prefixes.into_iter().filter_map(tree).collect()
    }

    pub(super) fn place(&self, place: Place) -> Option<Prefix> {
        let prefix = Prefix::of(&self.clients().record(place.user), place.bits)?;
        if !place.beside {
            return Some(prefix);
        }
        let (left, right) = prefix.parent()?.children()?;
        Some(if left == prefix { right } else { left })
    }

    /// Which transfer a step goes on with: the one that fits the evidence or, if none does, the newest that is open.
    fn transfer(&self, what: What, own: &[Transfer], evidence: Option<&Entry>) -> TransferId {
        let theirs = evidence.map_or(&[][..], |entry| &entry.open);
        let of = evidence.map(|entry| entry.group);
        let is_shown = |transfer: &Transfer| theirs.iter().any(|their| their.id() == transfer.id());
        let fits = |transfer: &&Transfer| match (what, *transfer) {
            (What::Take, Transfer::Incoming { .. }) => is_shown(transfer),
            (What::GiveUp, Transfer::Incoming { source, .. }) => of == Some(*source),
            (What::Close, Transfer::Outgoing { destination, .. }) => {
                of == Some(*destination) && !is_shown(transfer)
            }
            _ => false,
        };
        let newest = if what == What::Out { theirs.last() } else { own.last() };
        own.iter().find(fits).or(newest).map_or(TransferId([0; 16]), Transfer::id)
    }

    /// The change that a step asks for, if all that it names is there.
    fn asked(&self, step: &Step) -> Option<(Change, What, Prefix, Option<Made>)> {
        let Step::Change { at, group, what, place, tree, opening, entry, statement } = step else {
            return None;
        };
        let prefix = self.place(*place)?;
        let newest = self.members[usize::from(*at)][usize::from(*group)].lead.as_ref();
        let (_, own) = self.decided(newest.and_then(|lead| lead.newest));
        let id = self.transfer(*what, &own, entry.and_then(|entry| Some(&self.entries.get(&entry)?.entry)));
        let evidence = || {
            let entry = self.entries.get(&(*entry)?)?.entry.clone();
            Some(Evidence { entry, committed: self.commit_or_dressed((*statement)?)? })
        };
        let tree = |prefix| {
            let claim = Claim::of(&self.below(&self.tree(*tree)?, prefix))?;
            let claim = match opening {
                Opening::Once => claim.opened_once(),
                Opening::Hidden => claim.hidden(),
                Opening::All => Some(claim),
            };
            Some(claim?.to_request()?.tree)
        };
        let change = match what {
            What::Split => Change::Split(prefix, tree(prefix)?),
            What::Merge => {
                let (left, right) = prefix.children()?;
                Change::Merge(prefix, tree(left)?, tree(right)?)
            }
            What::In => Change::In(prefix, evidence()?),
            What::Out => Change::Out(id, evidence()?),
            What::Refuse => Change::Refuse,
            What::Take => Change::Take(id, evidence()?),
            What::GiveUp => Change::GiveUp(id, evidence()?),
            What::Close => Change::Close(id, evidence()?),
            What::Retire => Change::Retire,
            What::End => Change::End(self.ended(&own, *statement), self.retired_or_dressed((*statement)?)?),
        };
        Some((change, *what, prefix, *entry))
    }

    pub(super) fn change(&mut self, n: Made, at: usize, group: usize, step: &Step) {
        let Some((change, what, prefix, entry)) = self.asked(step) else { return };
        let is_long = change.nodes() > Change::MAX_NODES;
        let reply = self.send(at, "Change", &Request::Change(self.groups[group].id, change));
        let outcome = if let Reply::Refused(refusal) = &reply { format!("{refusal:?}") } else { "ok".into() };
        self.cover("(change)", "any", format!("{what:?}: {outcome}"));
        let is_read = matches!(reply, Reply::Processed { .. } | Reply::Refused(Refusal::StaleTree));
        if is_long && is_read {
            let what = format!("HSM {at} read more of a tree than a change may bring");
            return self.violate("bounded", what);
        }
        match reply {
            Reply::Processed { made: Some(made), .. } => {
                self.judge_changed(n, at, group, (what, prefix, entry), made);
            }
            Reply::Refused(Refusal::NotLeader) => self.end_leadership(at, group),
            Reply::Refused(Refusal::TooManyTransfers) if what == What::Refuse => {
                let what = format!("HSM {at} cannot refuse while group {group} has a transfer open");
                self.violate("nothing stranded", what);
            }
            _ => {}
        }
    }

    /// How many decisions a group has made after an entry, and which transfers are open.
    pub(super) fn decided(&self, after: Option<Made>) -> (u64, Vec<Transfer>) {
        let known = after.and_then(|after| self.entries.get(&after));
        known.map_or((0, Vec::new()), |known| (known.entry.transfers, known.entry.open.clone()))
    }

    /// An entry counts each decision. If nothing changes, it also repeats what is open.
    pub(super) fn judge_decisions(
        &mut self,
        at: usize,
        entry: &Entry,
        (decisions, open): (u64, Vec<Transfer>),
        changes: bool,
    ) {
        if entry.transfers != decisions || (!changes && entry.open != open) {
            let what = format!("HSM {at} made an entry of {} decisions, not {decisions}", entry.transfers);
            self.violate("decisions are counted", what);
        }
    }

    /// What an entry owns: nothing twice, nothing that was not asked for, and all of that.
    pub(super) fn judge_owned(&mut self, at: usize, entry: &Entry, holds: &[Prefix]) {
        let owned: Vec<Prefix> = entry.partitions.iter().map(|p| p.prefix).collect();
        let group = self.groups.iter().position(|group| group.id == entry.group).unwrap_or_default();
        if let Some((one, other)) = overlap(&owned) {
            let what = format!("HSM {at} made an entry of group {group} that owns {one} and {other}");
            return self.violate("one owner", what);
        }
        if let Some(more) = owned.iter().find(|prefix| !holds.contains(prefix)) {
            let what =
                format!("HSM {at} made an entry of group {group} that owns {more:?}, which is not its own");
            return self.violate("one owner", what);
        }
        if let Some(less) = holds.iter().find(|prefix| !owned.contains(prefix)) {
            let what = format!("HSM {at} made an entry of group {group} that no longer owns {less:?}");
            return self.violate("nothing stranded", what);
        }
        if owned.len() > MAX_PARTITIONS || owned.iter().any(|prefix| prefix.len() > MAX_PREFIX_BITS) {
            self.violate("bounded", format!("HSM {at} made an entry of too many prefixes, or too long ones"));
        }
    }

    fn judge_changed(
        &mut self,
        n: Made,
        at: usize,
        group: usize,
        (what, prefix, evidence): (What, Prefix, Option<Made>),
        made: MadeEntry,
    ) {
        let lead = self.members[at][group].lead.as_ref().filter(|lead| lead.leading);
        let Some(parent) = lead.map(|lead| lead.newest) else {
            let what = format!("HSM {at} makes entries and does not lead");
            return self.violate("leaders start from NVRAM", what);
        };
        let before = parent.and_then(|parent| self.entries.get(&parent));
        let (mut tree, mut records) = before.map_or_else(
            || (Tree::new(Prefix::WHOLE), Records::default()),
            |known| (known.tree.clone(), known.records.clone()),
        );
        let mut holds = self.holds(group, parent);
        let other = evidence.and_then(|evidence| self.entries.get(&evidence));
        // Which of those that the evidence shows: the one that is open here only now, or no longer.
        let (decisions, open) = self.decided(parent);
        let moved = |transfer: &&Transfer| {
            let is_in = |open: &[Transfer]| open.iter().any(|own| own.id() == transfer.id());
            is_in(&open) != is_in(&made.entry.open)
        };
        let shown = other.map_or(&[][..], |known| &known.entry.open);
        let taken =
            shown.iter().filter(|_| what == What::Take).find(|t| matches!(t, Transfer::Outgoing { .. }));
        let transfer = shown.iter().find(moved).or(taken).copied();
        let mut takes = None;
        match (what, transfer, prefix.children()) {
            (What::Split, _, Some((left, right))) => {
                holds.retain(|held| *held != prefix);
                holds.extend([left, right]);
            }
            (What::Merge, _, Some((left, right))) => {
                holds.retain(|held| ![left, right].contains(held));
                holds.push(prefix);
            }
            (What::Out, Some(Transfer::Incoming { prefix, .. }), _) => holds.retain(|held| *held != prefix),
            (What::Take, Some(Transfer::Outgoing { id, prefix, .. }), _) => {
                takes = Some(id);
                // What it has let go and is still open may be taken by this entry too.
                let left = open.iter().filter(|transfer| matches!(transfer, Transfer::Outgoing { .. }));
                let kept: Vec<Prefix> = holds.iter().copied().chain(left.map(Transfer::prefix)).collect();
                tree = self.with_taken(&tree, &kept, other.map(|known| &known.tree), prefix);
                let users = (0..USERS).filter(|user| prefix.contains(&self.clients().record(*user)));
                let other = other.map(|known| known.records.clone()).unwrap_or_default();
                users.for_each(|user| records.adopt(&other, user, n));
                holds.push(prefix);
            }
            _ => {}
        }
        let decides = !matches!(what, What::Split | What::Merge | What::In | What::Close);
        let changes = !matches!(what, What::Split | What::Merge | What::Refuse | What::Retire);
        if made.entry.last != (what == What::Retire) {
            self.violate("ends for good", format!("HSM {at} made a last entry, or none, by {what:?}"));
        }
        self.judge_owned(at, &made.entry, &holds);
        self.judge_decisions(at, &made.entry, (decisions + u64::from(decides), open), changes);
        let is_other = made.entry.partitions.iter().find(|p| self.below(&tree, p.prefix).root() != p.root);
        if let Some(partition) = is_other {
            let what =
                format!("what group {group} owns at {:?} after #{n} is not what it was", partition.prefix);
            self.violate("moved as it was", what);
        }
        if !made.leaves.is_empty() || !made.events.is_empty() {
            self.violate("blind until commit", format!("HSM {at} made leaves or events of a change"));
        }
        let (kept, events) = (Vec::new(), Vec::new());
        self.keep(n, at, group, made.entry, New { parent, tree, records, holds, takes, kept, events });
    }

    /// What a group has below these prefixes, and what another has let go.
    fn with_taken(&self, own: &Tree, kept: &[Prefix], other: Option<&Tree>, prefix: Prefix) -> Tree {
        let mut tree = Tree::new(Prefix::WHOLE);
        let leaves = (0..USERS).map(|user| self.clients().record(user)).filter_map(|record| {
            let is_kept = kept.iter().any(|kept| kept.contains(&record));
            let from = if prefix.contains(&record) { other? } else { Some(own).filter(|_| is_kept)? };
            Some((record, from.get(&record).ok()??.clone()))
        });
        tree.update(leaves).expect("it is empty");
        tree
    }

    /// One tree below these prefixes, and another elsewhere.
    pub(super) fn merged(&self, elsewhere: &Tree, below: &Tree, prefixes: &[Prefix]) -> Tree {
        let mut tree = Tree::new(Prefix::WHOLE);
        let leaves = (0..USERS).map(|user| self.clients().record(user)).filter_map(|record| {
            let is_below = prefixes.iter().any(|prefix| prefix.contains(&record));
            let of = if is_below { below } else { elsewhere };
            Some((record, of.get(&record).ok()??.clone()))
        });
        tree.update(leaves).expect("it is empty");
        tree
    }

    /// After entries became committed: each record has one owner, or one transfer that can still be taken.
    pub(super) fn judge_owners(&mut self, group: usize, new: &[Made]) {
        for made in new.iter().rev() {
            let Some(known) = self.entries.get(made) else { continue };
            for transfer in &known.entry.open {
                if let Transfer::Outgoing { id, destination, prefix, .. } = *transfer {
                    let let_go = LetGo { prefix, to: destination, is_taken: false };
                    self.let_go.entry(id).or_insert(let_go);
                }
            }
            if let Some(id) = known.takes {
                let before = self.let_go.get_mut(&id).map(|it| std::mem::replace(&mut it.is_taken, true));
                if before != Some(false) {
                    let what =
                        format!("group {group} took in #{made} what has been taken, or was not let go");
                    return self.violate("one owner", what);
                }
            }
            let index = |made: &Made| self.entries.get(made).map(|known| known.entry.index);
            if self.heads.get(&group).is_none_or(|head| index(head) < index(made)) {
                self.heads.insert(group, *made);
            }
        }
        let mut all: Vec<Prefix> = (0..self.groups.len())
            .filter(|group| !self.has_retired(*group))
            .flat_map(|group| self.owned(group, self.heads.get(&group).copied()))
            .collect();
        all.extend(self.deliverable());
        if let Some((one, other)) = overlap(&all) {
            let what = format!("both {one} and {other} are owned, or can still be taken");
            return self.violate("one owner", what);
        }
        let size = |prefix: &Prefix| 1_u128 << 100_u32.saturating_sub(u32::from(prefix.len()));
        if all.iter().map(size).sum::<u128>() < size(&Prefix::WHOLE) {
            let what = format!("only {all:?} are owned, or can still be taken");
            self.violate("nothing stranded", what);
        }
    }

    /// What was let go, and is still awaited.
    fn deliverable(&self) -> impl Iterator<Item = Prefix> {
        self.let_go.iter().filter(|(_, let_go)| !let_go.is_taken).filter_map(|(id, let_go)| {
            let group = self.groups.iter().position(|group| group.id == let_go.to)?;
            let head = self.entries.get(self.heads.get(&group)?)?;
            let mut open = head.entry.open.iter();
            let waits = open.any(|t| matches!(t, Transfer::Incoming { id: of, .. } if of == id));
            (waits && !head.entry.last).then_some(let_go.prefix)
        })
    }

    /// Replies that wait at an HSM, over all groups, stay within its bound.
    pub(super) fn judge_waiting(&mut self, at: usize) {
        let waits: usize = self.members[at].iter().filter_map(|m| m.lead.as_ref()).map(|l| l.waits()).sum();
        if waits > self.statuses[at].limits.max_pending_replies as usize {
            self.violate("bounded", format!("HSM {at} let {waits} replies wait"));
        }
    }
}

/// Two prefixes that some record id has both of.
fn overlap(all: &[Prefix]) -> Option<(String, String)> {
    let pairs = all.iter().enumerate().flat_map(|(i, one)| all[..i].iter().map(move |other| (one, other)));
    let mut pairs = pairs.filter(|(one, other)| one.overlaps(other));
    pairs.next().map(|(one, other)| (format!("{one:?}"), format!("{other:?}")))
}
