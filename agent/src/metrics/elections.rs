//! How often a member tries to lead, and what comes of it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use strongroom_replica::Role;

/// Elections in which this member stood, over all groups. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Elections(Family<OutcomeLabel, Counter>);

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl Elections {
    pub(super) fn register(&self, log: &mut Registry) {
        // From zero, or the first one is no increase.
        for outcome in ["begun", "won", "lost"] {
            let _ = self.of(outcome);
        }
        let help = "Elections in which this member stood: begun, and won or lost";
        log.register("elections", help, self.0.clone());
    }

    /// A member's role has changed, or is the first that is known of it.
    pub(super) fn turned(&self, before: Option<Role>, now: Role) {
        let was = matches!(before, Some(Role::Candidate));
        let wins = matches!(now, Role::Leader { .. }) && before != Some(now);
        let is = matches!(now, Role::Candidate);
        // One step may lead from witness to leader.
        if (is || wins) && !was {
            self.of("begun").inc();
        }
        if wins {
            self.of("won").inc();
        } else if was && !is {
            self.of("lost").inc();
        }
    }

    fn of(&self, outcome: &'static str) -> Counter {
        self.0.get_or_create(&OutcomeLabel { outcome }).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::ids::Term;

    #[test]
    fn an_election_is_begun_and_then_won_or_lost() {
        let elections = Elections::default();
        let leader = |term| Role::Leader { term: Term([term; 16]) };
        let roles = [
            Role::Starting,
            Role::Witness,
            Role::Candidate,
            Role::Witness,
            Role::Candidate,
            leader(1),
            Role::Witness,
            leader(2),
            leader(3),
            Role::Candidate,
        ];
        let mut before = None;
        for now in roles {
            elections.turned(before, now);
            before = Some(now);
        }
        assert_eq!(["begun", "won", "lost"].map(|outcome| elections.of(outcome).get()), [5, 3, 1]);
    }
}
