//! What a liar says in a cluster: instead of what its replica says, and on its own account.

use super::Cluster;
use super::journal::{Kind, Lane};
use super::lies::{Lie, altered, any_index, any_silence, false_statement, push};
use super::pending::Pending;
use rand::RngExt;
use rand::seq::IndexedRandom;
use std::collections::BTreeSet;
use strongroom_proto::entry::{Entry, events_hash};
use strongroom_proto::ids::{Digest, Index, Mac, Term};
use strongroom_proto::statement::{Captured, Fresh};
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::segment::{Segment, SegmentEntry};
use strongroom_replica::{Event as Input, Role};

/// How seldom a liar leaves a message as it is, and how often it says something on its own account in a tick.
const HONEST: (u32, u32) = (1, 4);
const UNASKED: (u32, u32) = (1, 3);

impl Cluster {
    /// Makes a member's agent say this to another's, whatever its replica would say.
    pub fn say(&mut self, from: usize, to: usize, message: &PeerMessage) {
        let from_hsm = self.members[from].hsm;
        self.note_message(from, to, message, &[1]);
        let event = Box::new(Input::Peer { from: from_hsm, message: message.clone() });
        self.schedule(1, Pending::ToReplica { member: to, life: None, event });
    }

    /// The newest entry that is in the store as far as this member has read it.
    #[must_use]
    pub fn tip_of(&self, member: usize) -> Option<Entry> {
        let hash = self.status(member)?.tip_hash;
        let segments = self.store.objects().filter_map(|(_, bytes)| Segment::decode(bytes).ok());
        let lasts: Vec<Entry> = segments.map(|segment| segment.last().clone()).collect();
        lasts.into_iter().rev().find(|last| last.hash() == hash)
    }

    /// A push of an entry that no HSM made, with which this member seems to continue the log that another member knows.
    #[must_use]
    pub fn forgery(&self, by: usize, for_whom: usize) -> Option<PeerMessage> {
        let before = self.tip_of(for_whom)?;
        let entry = Entry {
            index: before.index.next()?,
            prev: before.hash(),
            leader: self.members[by].hsm,
            events_hash: events_hash(std::iter::empty()),
            mac: Mac(Digest([0xf0; 32])),
            ..before
        };
        let segment = Segment::new(vec![SegmentEntry {
            entry,
            leaves: Vec::new(),
            events: Vec::new(),
            owners: Vec::new(),
        }]);
        push(&segment.ok()?)
    }

    /// What the liar says instead of this; `None` for nothing.
    pub(super) fn lie(&mut self, from: usize, message: PeerMessage) -> Option<PeerMessage> {
        let Some(lies) = self.faults.liars.get(&from).cloned() else { return Some(message) };
        let rng = &mut self.rng;
        if rng.random_ratio(HONEST.0, HONEST.1) {
            return Some(message);
        }
        match message {
            PeerMessage::Heartbeat { group, term, newest, snapshot, .. }
                if lies.contains(&Lie::Heartbeat) =>
            {
                let newest = any_index(rng, newest);
                let snapshot = any_index(rng, snapshot);
                let term = if rng.random() { term } else { Term(rng.random()) };
                let silent_ms = any_silence(rng);
                Some(PeerMessage::Heartbeat { group, term, newest, snapshot, silent_ms })
            }
            PeerMessage::Push { .. } if lies.contains(&Lie::Push) => altered(rng, message),
            PeerMessage::Captured { group, statement } if lies.contains(&Lie::Statement) => {
                let others = &self.group.members;
                let statement = false_statement(rng, statement, others);
                Some(PeerMessage::Captured { group, statement })
            }
            PeerMessage::Fresh { group, nonce, statement } if lies.contains(&Lie::Statement) => {
                let Fresh { hsm, index, hash, mac } = statement;
                let statement = false_statement(rng, Captured { hsm, index, hash, mac }, &self.group.members);
                let Captured { hsm, index, hash, mac } = statement;
                Some(PeerMessage::Fresh { group, nonce, statement: Fresh { hsm, index, hash, mac } })
            }
            honest => Some(honest),
        }
    }

    /// A liar is about to write a segment. Returns whether it does, given what it says about it.
    pub(super) fn lie_early(&mut self, from: usize, bytes: &[u8]) -> bool {
        let lies = self.faults.liars.get(&from).is_some_and(|lies| lies.contains(&Lie::Early));
        let elected = self.status(from).is_some_and(|status| matches!(status.role, Role::Leader { .. }));
        let segment = Segment::decode(bytes).ok();
        // Only where the leadership begins: what a leader makes later, and never stores, a witness may capture unread, which
        // costs the group that witness until it jumps (decision 21). No run holds against that.
        let begins = |first: &Entry| {
            first.index == Index(1) || self.tip_of(from).is_some_and(|tip| tip.term != first.term)
        };
        if !lies || elected || !segment.as_ref().is_some_and(|segment| begins(segment.first())) {
            return true;
        }
        let to = self.rng.random_range(0..self.members.len());
        if let Some(message) = segment.as_ref().and_then(push).filter(|_| to != from) {
            self.send_as_is(from, to, &message);
        }
        self.rng.random()
    }

    /// Whether this member's agent leaves clients without an answer.
    pub(super) fn is_silent(&self, member: usize) -> bool {
        self.faults.liars.get(&member).is_some_and(|lies| lies.contains(&Lie::Silence))
    }

    /// A tick in which a liar may say something that its replica did not.
    pub(super) fn lie_unasked(&mut self, from: usize) {
        let Some(lies) = self.faults.liars.get(&from).cloned() else { return };
        if !self.rng.random_ratio(UNASKED.0, UNASKED.1) {
            return;
        }
        let lies: Vec<Lie> = lies.into_iter().collect();
        let lie = lies.choose(&mut self.rng).copied();
        if lie == Some(Lie::Heartbeat) {
            // Often enough that no member's time-out would ever end.
            (0..self.members.len()).filter(|to| *to != from).for_each(|to| self.lie_to(from, to, lie));
        } else {
            let to = self.rng.random_range(0..self.members.len());
            self.lie_to(from, to, lie);
        }
    }

    fn lie_to(&mut self, from: usize, to: usize, lie: Option<Lie>) {
        if to == from {
            return;
        }
        let message = match lie {
            Some(Lie::Heartbeat) => self.tip_of(to).map(|tip| {
                let rng = &mut self.rng;
                let newest = any_index(rng, tip.index);
                let term = if rng.random() { tip.term } else { Term(rng.random()) };
                PeerMessage::Heartbeat {
                    group: tip.group,
                    term,
                    newest,
                    snapshot: any_index(rng, Index::ZERO),
                    silent_ms: any_silence(rng),
                }
            }),
            Some(Lie::Forgery) => self.forgery(from, to),
            Some(Lie::Statement) => self.tip_of(from).map(|tip| {
                let statement = Captured {
                    hsm: self.members[from].hsm,
                    index: tip.index,
                    hash: tip.hash(),
                    mac: Mac(Digest([0xf1; 32])),
                };
                let statement = false_statement(&mut self.rng, statement, &self.group.members);
                PeerMessage::Captured { group: tip.group, statement }
            }),
            Some(Lie::Push | Lie::Early | Lie::Silence) | None => None,
        };
        if let Some(message) = message {
            self.send_as_is(from, to, &message);
        }
    }

    /// From now on, a member's agent lies about this.
    pub fn turn(&mut self, member: usize, lies: BTreeSet<Lie>) {
        self.note(Lane::Member(member), Kind::Trouble, || format!("the agent lies: {lies:?}"));
        self.faults.liars.insert(member, lies);
    }
}
