//! What an entry says about prefixes and transfers, and what the next one may say.
//!
//! Every rule is about one entry, the newest of its group, and at most one entry of another group as evidence. Whether
//! that one is committed is for whoever shows it.

use super::super::{Checked, check};
use super::rule::Rule;

/// A group's number.
pub type Group = u8;

/// A transfer's number: ids are drawn inside, so no two are equal.
pub type Id = usize;

/// The most transfers that are ever begun.
pub(super) const IDS: usize = 5;

/// How often something was counted.
pub type Count = u8;

/// A part of the space. The one record with a guess limit is in the lower half.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Prefix {
    /// All of it.
    Whole,
    /// The half with the record.
    Lower,
    /// The other half.
    Upper,
}

impl Prefix {
    pub(super) const ALL: [Self; 3] = [Self::Whole, Self::Lower, Self::Upper];

    /// Whether a half of the space is in it.
    pub(super) fn covers(self, half: Self) -> bool {
        self == Self::Whole || self == half
    }
}

/// A transfer that waits at its destination.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Incoming {
    pub(super) source: Group,
    pub(super) prefix: Prefix,
    /// The source's count in the evidence that it began with.
    pub(super) count: Count,
    /// The root there. Nothing looks at it but a destination without [`Rule::TakeGivenRoot`].
    root: Count,
}

/// A transfer that its source has given away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Outgoing {
    pub(super) destination: Group,
    pub(super) prefix: Prefix,
    pub(super) root: Count,
    /// The destination's count in the evidence on which it was given away.
    pub(super) count: Count,
}

/// What one entry says. A root is the number of guesses charged to the record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Contents {
    /// By prefix: its root, if the group owns it.
    pub(super) roots: [Option<Count>; 3],
    /// How many decisions about transfers the group has made.
    pub(super) count: Count,
    pub(super) incoming: [Option<Incoming>; IDS],
    pub(super) outgoing: [Option<Outgoing>; IDS],
    pub(super) retired: bool,
    /// Refusals that are not counted above, where [`Rule::RefuseCountsUp`] is left out.
    refusals: Count,
}

/// What an entry of a group says, shown to another group.
#[derive(Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) group: Group,
    pub(super) says: &'a Contents,
}

/// Which rules are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) without: Option<Rule>,
    /// Places in an entry, for prefixes and for open transfers.
    pub(super) places: usize,
}

impl Rules {
    pub(super) fn keep(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}

impl Contents {
    /// What is before the first entry of the first group.
    pub(super) fn genesis() -> Self {
        Self { roots: [Some(0), None, None], ..Self::default() }
    }

    pub(super) fn owns(&self, half: Prefix) -> bool {
        Prefix::ALL.iter().any(|prefix| prefix.covers(half) && self.root(*prefix).is_some())
    }

    pub(super) fn root(&self, prefix: Prefix) -> Option<Count> {
        self.roots[prefix as usize]
    }

    /// The same, whatever was charged.
    pub(super) fn uncharged(mut self) -> Self {
        self.roots = self.roots.map(|root| root.map(|_| 0));
        self
    }

    /// Whether nothing is open.
    pub(super) fn is_idle(&self) -> bool {
        self.incoming.iter().all(Option::is_none) && self.outgoing.iter().all(Option::is_none)
    }

    /// Places that are taken: of two prefixes, a transfer that waits, and one given away, each takes one.
    pub(super) fn places(&self) -> usize {
        self.places_but_outgoing() + self.outgoing.iter().flatten().count()
    }

    fn places_but_outgoing(&self) -> usize {
        self.roots.iter().flatten().count() + self.incoming.iter().flatten().count()
    }

    fn has_place(&self, rules: &Rules) -> Checked {
        let taken = if rules.keep(Rule::OutTakesPlace) { self.places() } else { self.places_but_outgoing() };
        check(taken < rules.places, "every place in an entry is taken")
    }

    fn is_alive(&self, rules: &Rules) -> Checked {
        check(!self.retired || !rules.keep(Rule::RetiredIsLast), "it has retired")
    }

    fn counted_up(mut self, counts: bool) -> Self {
        self.count += Count::from(counts);
        self
    }

    /// Charges a guess to the record.
    pub(super) fn charge(mut self, rules: &Rules) -> Result<Self, &'static str> {
        self.is_alive(rules)?;
        check(self.owns(Prefix::Lower), "it does not own the record")?;
        for prefix in [Prefix::Whole, Prefix::Lower] {
            if let Some(root) = &mut self.roots[prefix as usize] {
                *root += 1;
            }
        }
        if !rules.keep(Rule::OpenIsRepeated) {
            (self.incoming, self.outgoing) = Default::default();
        }
        Ok(self)
    }

    pub(super) fn split(mut self, rules: &Rules) -> Result<Self, &'static str> {
        self.is_alive(rules)?;
        self.has_place(rules)?;
        let [whole @ Some(_), None, None] = self.roots else { return Err("it does not own the whole") };
        self.roots = [None, whole, Some(0)];
        Ok(self)
    }

    pub(super) fn merge(mut self, rules: &Rules) -> Result<Self, &'static str> {
        self.is_alive(rules)?;
        let [None, lower @ Some(_), Some(_)] = self.roots else { return Err("it does not own both halves") };
        self.roots = [lower, None, None];
        Ok(self)
    }

    /// Step 1: the destination begins to wait for a prefix of a group that owned it.
    pub(super) fn wait_for(
        mut self,
        rules: &Rules,
        me: Group,
        id: Id,
        (prefix, source): (Prefix, Evidence<'_>),
    ) -> Result<Self, &'static str> {
        self.is_alive(rules)?;
        check(source.group != me || !rules.keep(Rule::SourceIsOther), "it takes nothing from itself")?;
        let root = source.says.root(prefix);
        check(root.is_some() || !rules.keep(Rule::InNeedsExactPrefix), "the source did not own that prefix")?;
        self.has_place(rules)?;
        let root = if rules.keep(Rule::TakeGivenRoot) { 0 } else { root.unwrap_or(0) };
        self.incoming[id] = Some(Incoming { source: source.group, prefix, count: source.says.count, root });
        Ok(self)
    }

    /// Step 2: the source gives the prefix away.
    pub(super) fn give(
        mut self,
        rules: &Rules,
        me: Group,
        id: Id,
        to: Evidence<'_>,
    ) -> Result<Self, &'static str> {
        self.is_alive(rules)?;
        let incoming = to.says.incoming[id].ok_or("nobody waits for that")?;
        let named = incoming.source == me || (!rules.keep(Rule::OutNamesSource) && to.group != me);
        check(named, "it is not to come from this group")?;
        let free = self.is_idle() || rules.keep(Rule::DecidesWhileBusy);
        check(free, "it has something open")?;
        let now = incoming.count == self.count || !rules.keep(Rule::OutNeedsCount);
        check(now, "the group has decided something since")?;
        let Incoming { prefix, .. } = incoming;
        let root = self.root(prefix).ok_or("it does not own exactly that prefix")?;
        if rules.keep(Rule::OutRemovesPrefix) {
            self.roots[prefix as usize] = None;
        }
        self.outgoing[id] = Some(Outgoing { destination: to.group, prefix, root, count: to.says.count });
        Ok(self.counted_up(rules.keep(Rule::OutCountsUp)))
    }

    /// Step 2': the source refuses whatever waits for its present count.
    pub(super) fn refuse(mut self, rules: &Rules) -> Result<Self, &'static str> {
        self.is_alive(rules)?;
        check(self.is_idle() || rules.keep(Rule::DecidesWhileBusy), "it has something open")?;
        if !rules.keep(Rule::RefuseCountsUp) {
            self.refusals += 1;
            return Ok(self);
        }
        Ok(self.counted_up(true))
    }

    /// Step 3: the destination takes the prefix, with what the source gave away for transfer `given`.
    pub(super) fn take(
        mut self,
        rules: &Rules,
        me: Group,
        (id, given): (Id, Id),
        source: Evidence<'_>,
    ) -> Result<Self, &'static str> {
        self.is_alive(rules)?;
        check(id == given || !rules.keep(Rule::TakeMatchesId), "it was given away for another transfer")?;
        let outgoing = source.says.outgoing[given].ok_or("it was not given away")?;
        check(outgoing.destination == me, "it was given to another group")?;
        let (from, prefix, root) = match self.incoming[id] {
            Some(i) if !rules.keep(Rule::TakeGivenRoot) => (i.source, i.prefix, i.root),
            Some(i) => (i.source, i.prefix, outgoing.root),
            None if rules.keep(Rule::TakeNeedsIncoming) => return Err("it does not wait for that"),
            None => (source.group, outgoing.prefix, outgoing.root),
        };
        check(from == source.group && prefix == outgoing.prefix, "that is not what it waits for")?;
        self.roots[prefix as usize] = Some(root);
        if rules.keep(Rule::TakeRemovesIncoming) {
            self.incoming[id] = None;
        }
        Ok(self.counted_up(rules.keep(Rule::TakeCountsUp)))
    }

    /// Step 3': the destination waits no longer.
    pub(super) fn give_up(
        mut self,
        rules: &Rules,
        id: Id,
        source: Evidence<'_>,
    ) -> Result<Self, &'static str> {
        self.is_alive(rules)?;
        let incoming = self.incoming[id].ok_or("it does not wait for that")?;
        if rules.keep(Rule::DropNeedsEvidence) {
            check(incoming.source == source.group, "that group is not the source")?;
            let count = source.says.count + source.says.refusals;
            let newer = count > incoming.count || source.says.retired;
            let newer = newer || !rules.keep(Rule::DropNeedsNewer);
            check(newer, "the source may still give it away")?;
            let gone = source.says.outgoing[id].is_some() && rules.keep(Rule::DropNeedsNoOutgoing);
            check(!gone, "the source has given it away")?;
        }
        self.incoming[id] = None;
        Ok(self.counted_up(rules.keep(Rule::DropCountsUp)))
    }

    /// Step 4: the source forgets what it gave away.
    pub(super) fn close(
        mut self,
        rules: &Rules,
        id: Id,
        destination: Evidence<'_>,
    ) -> Result<Self, &'static str> {
        self.is_alive(rules)?;
        let outgoing = self.outgoing[id].ok_or("it has given nothing away for that")?;
        if rules.keep(Rule::CloseNeedsEvidence) {
            check(outgoing.destination == destination.group, "that group is not the destination")?;
            let newer = destination.says.count > outgoing.count || destination.says.retired;
            let newer = newer || !rules.keep(Rule::CloseNeedsNewer);
            check(newer, "the destination may not have waited yet")?;
            let waits = destination.says.incoming[id].is_some() && rules.keep(Rule::CloseNeedsNoIncoming);
            check(!waits, "the destination still waits")?;
        }
        self.outgoing[id] = None;
        Ok(self)
    }

    /// What nobody may do: the source takes back what it gave away.
    pub(super) fn take_back(mut self, rules: &Rules, id: Id) -> Result<Self, &'static str> {
        check(!rules.keep(Rule::NeverTakenBack), "what was given away is never taken back")?;
        let outgoing = self.outgoing[id].take().ok_or("it has given nothing away for that")?;
        self.roots[outgoing.prefix as usize] = Some(outgoing.root);
        Ok(self)
    }

    /// The last entry of a group.
    pub(super) fn retire(mut self, rules: &Rules) -> Result<Self, &'static str> {
        check(!self.retired, "it has retired")?;
        let owns = self.roots.iter().any(Option::is_some);
        check(!owns || !rules.keep(Rule::RetireOwnsNothing), "it owns something")?;
        let waits = self.incoming.iter().any(Option::is_some);
        check(!waits || !rules.keep(Rule::RetireWithoutIncoming), "it waits for something")?;
        let gave = self.outgoing.iter().any(Option::is_some);
        check(!gave || !rules.keep(Rule::RetireWithoutOutgoing), "it has something open")?;
        // Without a rule, what is left ends with the group.
        self.roots = [None; 3];
        (self.incoming, self.outgoing) = Default::default();
        self.retired = true;
        Ok(self.counted_up(rules.keep(Rule::RetireCountsUp)))
    }
}
