//! What a group may do next, given everything that other groups have stated.

use super::contents::{Contents, Count, Evidence, Group, Id, Prefix, Rules};
use super::rule::Rule;
use std::fmt;

/// What the next entry of a group does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Move {
    /// Charges a guess.
    Charge,
    /// Makes two prefixes of the whole.
    Split,
    /// Makes the whole of two prefixes.
    Merge,
    /// Step 1: begins to wait.
    Wait {
        /// The transfer.
        id: Id,
        /// What is to come.
        prefix: Prefix,
        /// From where.
        source: Group,
        /// The source's count in the evidence.
        count: Count,
    },
    /// Step 2: gives a prefix away.
    Give {
        /// The transfer.
        id: Id,
        /// To whom.
        to: Group,
        /// The destination's count in the evidence.
        count: Count,
    },
    /// Step 2': counts up, and so refuses what waits.
    Refuse,
    /// Step 3: takes what was given away.
    Take {
        /// The transfer.
        id: Id,
        /// The transfer that it was given away for.
        given: Id,
        /// The root that comes with it.
        root: Count,
    },
    /// Step 3': waits no longer.
    GiveUp {
        /// The transfer.
        id: Id,
    },
    /// Step 4: forgets what was given away.
    Close {
        /// The transfer.
        id: Id,
    },
    /// What nobody may do.
    TakeBack {
        /// The transfer.
        id: Id,
    },
    /// Makes the last entry.
    Retire,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Charge => write!(f, "charges a guess"),
            Self::Split => write!(f, "splits"),
            Self::Merge => write!(f, "merges"),
            Self::Wait { id, prefix, source, count } => {
                let what = match prefix {
                    Prefix::Whole => "the whole",
                    Prefix::Lower => "the lower half",
                    Prefix::Upper => "the upper half",
                };
                write!(f, "waits, as transfer {id}, for {what} from group {source} at count {count}")
            }
            Self::Give { id, to, count } => {
                write!(f, "gives away transfer {id} to group {to}, which had count {count}")
            }
            Self::Refuse => write!(f, "counts up, to refuse what waits"),
            Self::Take { id, given, root } if id == given => {
                write!(f, "takes transfer {id} with {root} guesses")
            }
            Self::Take { id, given, root } => {
                write!(f, "takes transfer {id} with what was given for {given}, with {root} guesses")
            }
            Self::GiveUp { id } => write!(f, "drops transfer {id}"),
            Self::Close { id } => write!(f, "closes transfer {id}"),
            Self::TakeBack { id } => write!(f, "takes transfer {id} back"),
            Self::Retire => write!(f, "retires"),
        }
    }
}

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Transfers that are ever begun.
    pub(super) transfers: usize,
    /// Guesses that may be charged.
    pub(super) guesses: Count,
    /// How far a group may count up with nothing that it would refuse.
    pub(super) idle_refusals: Count,
    pub(super) split: bool,
    pub(super) retire: bool,
}

/// What a group may do after `newest`, with everything of other groups as evidence.
pub(super) struct Chooser<'a> {
    pub(super) rules: &'a Rules,
    pub(super) limits: &'a Limits,
    pub(super) me: Group,
    /// How many transfers were begun, by anybody.
    pub(super) begun: usize,
    pub(super) newest: &'a Contents,
    pub(super) evidence: &'a [Evidence<'a>],
    /// What was stated by somebody, and may never be committed. Nothing looks at it with all rules.
    pub(super) loose: &'a [Evidence<'a>],
}

type Moves = Vec<(Move, Contents)>;

impl Chooser<'_> {
    /// All of it.
    pub(super) fn moves(&self) -> Moves {
        let mut moves = Vec::new();
        let Limits { guesses, split, retire, .. } = *self.limits;
        let mut add = |step: Move, after: Result<Contents, &'static str>| {
            moves.extend(after.map(|after| (step, after)));
        };
        let charged = [Prefix::Whole, Prefix::Lower].map(|prefix| self.newest.root(prefix));
        if charged.iter().flatten().all(|root| *root < guesses) {
            add(Move::Charge, self.newest.charge(self.rules));
        }
        if split {
            add(Move::Split, self.newest.split(self.rules));
            add(Move::Merge, self.newest.merge(self.rules));
        }
        if retire {
            add(Move::Retire, self.newest.retire(self.rules));
        }
        let begins = self.begins();
        moves.extend(begins);
        moves.extend(self.ends(self.newest.count < self.limits.idle_refusals));
        moves
    }

    /// Step 1, once for each prefix, source and count.
    fn begins(&self) -> Moves {
        let mut moves = Moves::new();
        let ids = if self.rules.keep(Rule::IdIsDrawnInside) { self.begun } else { 0 };
        for id in (ids..=self.begun).filter(|id| *id < self.limits.transfers) {
            for source in self.evidence {
                for prefix in Prefix::ALL.into_iter().filter(|p| self.limits.split || *p == Prefix::Whole) {
                    let Ok(after) = self.newest.wait_for(self.rules, self.me, id, (prefix, *source)) else {
                        continue;
                    };
                    let count = source.says.count;
                    let step = Move::Wait { id, prefix, source: source.group, count };
                    if moves.iter().all(|(other, _)| *other != step) {
                        moves.push((step, after));
                    }
                }
            }
        }
        moves
    }

    /// The steps that come after the first, which are those that end transfers.
    pub(super) fn ends(&self, refuses_idly: bool) -> Moves {
        let mut moves = Moves::new();
        let mut add = |step: Move, after: Result<Contents, &'static str>| {
            let new = |after: &Contents| moves.iter().all(|other| *other != (step, *after));
            if let Some(after) = after.ok().filter(new) {
                moves.push((step, after));
            }
        };
        let refusable = |evidence: &Evidence<'_>| {
            let mut incoming = evidence.says.incoming.iter().flatten();
            incoming.any(|incoming| incoming.source == self.me && incoming.count == self.newest.count)
        };
        if refuses_idly || self.evidence.iter().any(refusable) {
            add(Move::Refuse, self.newest.refuse(self.rules));
        }
        let (rules, me) = (self.rules, self.me);
        let and_loose = |rule: Rule| {
            let loose = if rules.keep(rule) { &[] } else { self.loose };
            self.evidence.iter().chain(loose)
        };
        for id in 0..self.begun {
            add(Move::TakeBack { id }, self.newest.take_back(rules, id));
            for other in and_loose(Rule::OutNeedsCommitted) {
                let count = other.says.count;
                add(Move::Give { id, to: other.group, count }, self.newest.give(rules, me, id, *other));
            }
            for other in and_loose(Rule::TakeNeedsCommitted) {
                for given in 0..self.begun {
                    if let Ok(after) = self.newest.take(rules, me, (id, given), *other) {
                        let root = self.taken_root(id, given, other);
                        add(Move::Take { id, given, root }, Ok(after));
                    }
                }
            }
            for other in self.evidence {
                add(Move::GiveUp { id }, self.newest.give_up(rules, id, *other));
                add(Move::Close { id }, self.newest.close(rules, id, *other));
            }
        }
        moves
    }

    fn taken_root(&self, id: Id, given: Id, other: &Evidence<'_>) -> Count {
        let after = self.newest.take(self.rules, self.me, (id, given), *other).ok();
        let prefix = other.says.outgoing[given].map_or(Prefix::Whole, |outgoing| outgoing.prefix);
        after.and_then(|after| after.root(prefix)).unwrap_or(0)
    }
}
