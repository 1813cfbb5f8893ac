//! What other members' agents ask about this HSM, with a nonce of their own: what it has captured now.
//!
//! Whoever asks is answered, no matter who leads: the statement holds only for that nonce, and only its maker's HSM has use
//! for it. Kept here: for each other member at most one request is with the HSM, and of what it asks meanwhile only the
//! newest waits, so that one that asks without end takes no more than its turn.

use super::context::Context;
use super::outbox::Call;
use crate::ask::{self, Unanswered};
use crate::peer::PeerMessage;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use strongroom_proto::ids::{HsmId, Nonce};
use strongroom_proto::statement::Fresh;

/// What one member asks.
struct Wanted {
    with_hsm: Nonce,
    next: Option<Nonce>,
}

/// What the other members ask.
#[derive(Default)]
pub(super) struct Freshness(BTreeMap<HsmId, Wanted>);

impl Freshness {
    /// Another member asks for a statement with this nonce.
    pub(super) fn asked(&mut self, cx: &mut Context, by: HsmId, nonce: Nonce) {
        match self.0.entry(by) {
            Entry::Occupied(mut wanted) => {
                let wanted = wanted.get_mut();
                if wanted.with_hsm != nonce {
                    wanted.next = Some(nonce);
                }
            }
            Entry::Vacant(free) => {
                free.insert(Wanted { with_hsm: nonce, next: None });
                ask(cx, by, nonce);
            }
        }
    }

    /// The HSM has answered. Without a statement there is nothing to say: the member asks again.
    pub(super) fn answered(&mut self, cx: &mut Context, by: HsmId, reply: Result<Fresh, Unanswered>) {
        let Some(Wanted { with_hsm: nonce, next }) = self.0.remove(&by) else { return };
        if let Ok(statement) = reply {
            let group = cx.settings.group.group;
            cx.out.send(by, PeerMessage::Fresh { group, nonce, statement });
        }
        if let Some(next) = next {
            self.asked(cx, by, next);
        }
    }

    /// # Panics
    /// If the invariant above does not hold, or a member would never be asked for again.
    pub(super) fn assert_invariants(&self, cx: &Context) {
        let asked =
            cx.out.purposes().filter(|of| matches!(of, Call::Fresh { by } if self.0.contains_key(by)));
        assert!(asked.count() == self.0.len(), "there is not one request for each member that asked");
    }
}

fn ask(cx: &mut Context, by: HsmId, nonce: Nonce) {
    cx.out.ask(Call::Fresh { by }, ask::Fresh(cx.settings.group.group, nonce));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::context;
    use crate::interface::Action;
    use strongroom_proto::ids::{Digest, EntryHash, Index, Mac};

    const ASKER: HsmId = HsmId([4; 16]);

    fn statement(cx: &Context) -> Fresh {
        let (hsm, hash) = (cx.settings.hsm, EntryHash([1; 32]));
        Fresh { hsm, index: Index(7), hash, mac: Mac(Digest([2; 32])) }
    }

    /// Ends the one request that is with the HSM, with this reply. Returns the nonces to which statements went out.
    fn end(cx: &mut Context, freshness: &mut Freshness, reply: Result<Fresh, Unanswered>) -> Vec<Nonce> {
        let call = cx.out.calls().next().expect("a request is with the HSM");
        let Some(Call::Fresh { by }) = cx.out.returned(call) else { panic!("it is for a member") };
        cx.out.take();
        freshness.answered(cx, by, reply);
        freshness.assert_invariants(cx);
        let sent = cx.out.take().into_iter().filter_map(|action| match action {
            Action::Send { to: ASKER, message: PeerMessage::Fresh { nonce, .. } } => Some(nonce),
            _ => None,
        });
        sent.collect()
    }

    #[test]
    fn one_that_asks_without_end_has_one_request_with_the_hsm_and_hears_about_its_newest_nonce() {
        let (mut cx, mut freshness) = (context(), Freshness::default());
        for nonce in 0..100 {
            freshness.asked(&mut cx, ASKER, Nonce([nonce; 16]));
            freshness.assert_invariants(&cx);
        }
        assert_eq!(cx.out.calls().count(), 1);
        let statement = statement(&cx);
        assert_eq!(end(&mut cx, &mut freshness, Ok(statement)), [Nonce([0; 16])]);
        assert_eq!(end(&mut cx, &mut freshness, Ok(statement)), [Nonce([99; 16])]);
        assert_eq!(cx.out.calls().count(), 0);
    }

    #[test]
    fn a_question_that_comes_twice_is_asked_once_and_one_that_is_lost_may_come_again() {
        let (mut cx, mut freshness) = (context(), Freshness::default());
        let nonce = Nonce([1; 16]);
        freshness.asked(&mut cx, ASKER, nonce);
        freshness.asked(&mut cx, ASKER, nonce);
        assert_eq!(end(&mut cx, &mut freshness, Err(Unanswered::Lost)), []);
        assert_eq!(cx.out.calls().count(), 0);
        freshness.asked(&mut cx, ASKER, nonce);
        let statement = statement(&cx);
        assert_eq!(end(&mut cx, &mut freshness, Ok(statement)), [nonce]);
    }

    #[test]
    #[should_panic(expected = "there is not one request for each member that asked")]
    fn a_member_that_waits_for_nothing_is_noticed() {
        let mut freshness = Freshness::default();
        freshness.0.insert(ASKER, Wanted { with_hsm: Nonce([1; 16]), next: None });
        freshness.assert_invariants(&context());
    }
}
