//! What other agents say about who leads: where a client's request may go if the replica here cannot tell; and whether
//! they say anything.
//!
//! An agent says it in every answer to "are you there?". It is a claim; a false one costs only a request that is sent
//! to an agent that does not lead. Only the newest from each peer is kept.

use crate::grpc::peer::Leading;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hsm::MAX_GROUPS;
use strongroom_proto::ids::{HsmId, RecordId};
use strongroom_proto::prefix::Prefix;
use tokio::time::Instant;

/// What one peer says about one group.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Lead {
    leader: HsmId,
    prefixes: Vec<Prefix>,
}

/// What one peer last said, and when.
struct Said {
    at: Instant,
    /// The peer's HSM.
    by: Option<HsmId>,
    leads: Vec<Lead>,
}

/// One peer.
#[derive(Default)]
struct Peer {
    said: Option<Said>,
    /// When the first question was asked that it has not answered, since it last answered one.
    silent_since: Option<Instant>,
}

/// What each peer last said. Clones share it.
#[derive(Clone)]
pub(super) struct Heard(Arc<Mutex<Vec<Peer>>>);

impl Heard {
    /// Nothing yet, from this many peers.
    pub(super) fn new(peers: usize) -> Self {
        Self(Arc::new(Mutex::new((0..peers).map(|_| Peer::default()).collect())))
    }

    /// Records what a peer says.
    pub(super) fn put(&self, at: usize, by: Option<HsmId>, leads: &[Leading]) {
        let lead = |said: &Leading| {
            let leader = HsmId(said.leader.as_ref().try_into().ok()?);
            Some(Lead { leader, prefixes: minicbor::decode(&said.prefixes).ok()? })
        };
        let leads = leads.iter().take(MAX_GROUPS).filter_map(lead).collect();
        let mut heard = self.0.lock();
        if let Some(place) = heard.get_mut(at) {
            *place = Peer { said: Some(Said { at: Instant::now(), by, leads }), silent_since: None };
        }
    }

    /// Records that a peer says nothing to a question that was asked at this time.
    pub(super) fn nothing(&self, at: usize, asked: Instant) {
        if let Some(peer) = self.0.lock().get_mut(at) {
            peer.silent_since.get_or_insert(asked);
        }
    }

    /// Whether any peer is there: it has answered, and if it has stopped to, that was not as long ago as this.
    pub(super) fn is_any_there(&self, patience: Duration) -> bool {
        let lately = |peer: &Peer| peer.silent_since.is_none_or(|since| since.elapsed() < patience);
        self.0.lock().iter().any(|peer| peer.said.is_some() && lately(peer))
    }

    /// Who leads the group that covers a record, according to what was said within this time: members that say it about
    /// themselves come before those that others name.
    pub(super) fn leaders(&self, record: &RecordId, ago: Duration) -> Vec<HsmId> {
        let heard = self.0.lock();
        let (mut itself, mut others) = (Vec::new(), Vec::new());
        let said = heard.iter().filter_map(|peer| peer.said.as_ref());
        for said in said.filter(|said| said.at.elapsed() < ago) {
            let covers = |lead: &&Lead| lead.prefixes.iter().any(|prefix| prefix.contains(record));
            for lead in said.leads.iter().filter(covers) {
                let of = if said.by == Some(lead.leader) { &mut itself } else { &mut others };
                of.push(lead.leader);
            }
        }
        itself.append(&mut others);
        let mut once = Vec::new();
        for leader in itself {
            if !once.contains(&leader) {
                once.push(leader);
            }
        }
        once
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    fn leading(leader: u8, prefixes: &[Prefix]) -> Leading {
        let prefixes = minicbor::to_vec(prefixes.to_vec()).expect("encodes");
        Leading { leader: vec![leader; 16].into(), prefixes: prefixes.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peers_word_about_itself_comes_first_and_what_is_old_or_makes_no_sense_does_not_count() {
        let heard = Heard::new(3);
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
        let heard = Heard::new(2);
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
}
