//! What other agents say about who leads: where a client's request may go if the replica here cannot tell; and whether
//! they say anything.
//!
//! An agent says it in every answer to "are you there?". It is a claim; a false one costs only a request that is sent
//! to an agent that does not lead. Only the newest from each peer is kept.

use super::claims::Claims;
use crate::grpc::peer::Leading;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hsm::MAX_GROUPS;
use strongroom_proto::ids::{HsmId, RecordId};
use strongroom_proto::prefix::Prefix;
use tokio::time::Instant;

/// How many prefixes of what one peer says are kept: many more than the groups of an HSM own.
const MAX_PREFIXES: usize = 1024;

/// What one peer last said, and when.
struct Said {
    at: Instant,
    /// The peer's HSM.
    by: Option<HsmId>,
    leads: Vec<(Prefix, HsmId)>,
}

/// One peer.
#[derive(Default)]
struct Peer {
    said: Option<Said>,
    /// When the first question was asked that it has not answered, since it last answered one.
    silent_since: Option<Instant>,
}

/// What each peer last said. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    peers: BTreeMap<usize, Peer>,
    /// Who leads, by what each peer says.
    leads: Claims<HsmId>,
    /// The peers that have answered the last question.
    there: BTreeSet<usize>,
}

impl Heard {
    /// Listens to one more peer.
    pub(super) fn admit(&self, at: usize) {
        self.0.lock().peers.entry(at).or_default();
    }

    /// Whether there is such a peer.
    pub(super) fn knows(&self, at: usize) -> bool {
        self.0.lock().peers.contains_key(&at)
    }

    /// There is no such peer any more.
    pub(super) fn forget(&self, at: usize) {
        let mut table = self.0.lock();
        let said = table.peers.remove(&at).and_then(|peer| peer.said);
        for (prefix, leader) in said.into_iter().flat_map(|said| said.leads) {
            table.leads.remove(&prefix, at, leader);
        }
        table.there.remove(&at);
    }

    /// Records what a peer says.
    pub(super) fn put(&self, at: usize, by: Option<HsmId>, leads: &[Leading]) {
        let leads = read(leads);
        let mut table = self.0.lock();
        let Table { peers, leads: claims, there } = &mut *table;
        let Some(peer) = peers.get_mut(&at) else { return };
        let before = peer.said.take().map(|said| said.leads).unwrap_or_default();
        // Most say the same again.
        if before != leads {
            before.iter().for_each(|(prefix, leader)| claims.remove(prefix, at, *leader));
            leads.iter().for_each(|(prefix, leader)| claims.add(*prefix, at, *leader));
        }
        *peer = Peer { said: Some(Said { at: Instant::now(), by, leads }), silent_since: None };
        there.insert(at);
    }

    /// Records that a peer says nothing to a question that was asked at this time.
    pub(super) fn nothing(&self, at: usize, asked: Instant) {
        let mut table = self.0.lock();
        if let Some(peer) = table.peers.get_mut(&at) {
            peer.silent_since.get_or_insert(asked);
            table.there.remove(&at);
        }
    }

    /// For how long a peer has not answered, if it ever has.
    pub(super) fn silent_for(&self, at: usize) -> Option<Duration> {
        let table = self.0.lock();
        let said = table.peers.get(&at)?.said.as_ref()?;
        Some(said.at.elapsed())
    }

    /// Whether this peer has answered the last question.
    pub(super) fn is_there(&self, at: usize) -> bool {
        self.0.lock().there.contains(&at)
    }

    /// Whether what this peer last said, if anything, was said longer ago than this.
    pub(super) fn is_older(&self, at: usize, ago: Duration) -> bool {
        let table = self.0.lock();
        let said = table.peers.get(&at).and_then(|peer| peer.said.as_ref());
        said.is_none_or(|said| said.at.elapsed() > ago)
    }

    /// Whether any peer is there: it has answered, and if it has stopped to, that was not as long ago as this.
    pub(super) fn is_any_there(&self, patience: Duration) -> bool {
        let table = self.0.lock();
        let lately = |peer: &Peer| peer.silent_since.is_some_and(|since| since.elapsed() < patience);
        !table.there.is_empty() || table.peers.values().any(|peer| peer.said.is_some() && lately(peer))
    }

    /// Who leads the group that covers a record, according to what was said within this time: members that say it about
    /// themselves come before those that others name.
    pub(super) fn leaders(&self, record: &RecordId, ago: Duration) -> Vec<HsmId> {
        let table = self.0.lock();
        let (mut itself, mut others) = (Vec::new(), Vec::new());
        for (at, leader) in table.leads.about(record) {
            let said = table.peers.get(&at).and_then(|peer| peer.said.as_ref());
            let Some(said) = said.filter(|said| said.at.elapsed() < ago) else { continue };
            let of = if said.by == Some(leader) { &mut itself } else { &mut others };
            of.push(leader);
        }
        let mut once = BTreeSet::new();
        itself.into_iter().chain(others).filter(|leader| once.insert(*leader)).collect()
    }
}

/// What can be read of what a peer says, without order and repetition.
fn read(leads: &[Leading]) -> Vec<(Prefix, HsmId)> {
    let lead = |said: &Leading| {
        let leader = HsmId(said.leader.as_ref().try_into().ok()?);
        let prefixes: Vec<Prefix> = minicbor::decode(&said.prefixes).ok()?;
        Some(prefixes.into_iter().map(move |prefix| (prefix, leader)))
    };
    let leads = leads.iter().take(MAX_GROUPS).filter_map(lead).flatten().take(MAX_PREFIXES);
    let leads: BTreeSet<_> = leads.collect();
    leads.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    fn leading(leader: u8, prefixes: &[Prefix]) -> Leading {
        let prefixes = minicbor::to_vec(prefixes.to_vec()).expect("encodes");
        Leading { leader: vec![leader; 16].into(), prefixes: prefixes.into() }
    }

    fn hearing(peers: usize) -> Heard {
        let heard = Heard::default();
        (0..peers).for_each(|at| heard.admit(at));
        heard
    }

    #[tokio::test(start_paused = true)]
    async fn a_peers_word_about_itself_comes_first_and_what_is_old_or_makes_no_sense_does_not_count() {
        let heard = hearing(3);
        let record = RecordId([7; 32]);
        assert!(!heard.is_any_there(SOON) && heard.leaders(&record, SOON).is_empty());
        let (one, two, three) = (HsmId([1; 16]), HsmId([2; 16]), HsmId([3; 16]));
        heard.put(0, Some(one), &[leading(3, &[Prefix::WHOLE])]);
        heard.put(1, Some(two), &[leading(2, &[Prefix::WHOLE]), leading(1, &[])]);
        let nonsense = Leading { leader: vec![1].into(), prefixes: vec![0xff].into() };
        heard.put(2, Some(three), &[nonsense]);
        assert_eq!(heard.leaders(&record, SOON), [two, three]);
        heard.put(9, Some(three), &[]);
        tokio::time::advance(SOON).await;
        assert!(heard.leaders(&record, SOON).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_there_until_it_has_left_questions_without_an_answer_for_some_time() {
        let heard = hearing(2);
        heard.nothing(0, Instant::now());
        assert!(!heard.is_any_there(SOON), "it has never answered");
        heard.put(0, None, &[]);
        tokio::time::advance(SOON * 100).await;
        assert!(heard.is_any_there(SOON), "nobody has asked it since");
        heard.nothing(0, Instant::now());
        tokio::time::advance(SOON / 2).await;
        heard.nothing(0, Instant::now());
        assert!(heard.is_any_there(SOON));
        tokio::time::advance(SOON / 2).await;
        assert!(!heard.is_any_there(SOON), "the first of them counts");
        heard.nothing(9, Instant::now());
        heard.put(1, None, &[]);
        assert!(heard.is_any_there(SOON), "one is enough");
    }
    #[tokio::test(start_paused = true)]
    async fn a_peer_says_one_thing_at_a_time_and_nothing_when_it_is_forgotten() {
        let heard = hearing(2);
        let record = RecordId([7; 32]);
        let (one, two) = (HsmId([1; 16]), HsmId([2; 16]));
        heard.put(0, Some(one), &[leading(1, &[Prefix::WHOLE])]);
        heard.put(1, Some(two), &[leading(1, &[Prefix::WHOLE])]);
        heard.put(0, Some(one), &[leading(2, &[Prefix::of(&record, 4).expect("short")])]);
        assert_eq!(heard.leaders(&record, SOON), [two, one]);
        heard.put(1, Some(two), &[]);
        assert_eq!(heard.leaders(&record, SOON), [two]);
        heard.forget(0);
        heard.put(0, Some(one), &[leading(1, &[Prefix::WHOLE])]);
        assert!(heard.leaders(&record, SOON).is_empty() && heard.is_any_there(SOON));
        heard.forget(1);
        assert!(!heard.is_any_there(SOON));
    }
}
