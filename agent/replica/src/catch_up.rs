//! Reads the log from the store: asks for the next segment by name, lists the rest, then follows the hashes. Whatever
//! is off the chain is garbage.
//!
//! The name of the next segment follows from the log, so it is requested before anything is listed; while a listing
//! takes its time, so are the segments after it. A listing that takes minutes holds nobody up. Only a listing says
//! where the log ends, and it costs a store as much as a dozen reads: where somebody has said how far the log goes, and
//! names lead there in a few steps, nothing is listed.

use super::interface::Millis;
use crate::segment::SegmentName;
use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::ids::Index;

/// The most segments that are being read or have been read ahead. Enough that reading is faster than writing, even if
/// the store takes long for each.
const READ_AHEAD: usize = 32;
/// How many segments are read one after the other by their names before they are listed instead: what is listed is read
/// many at a time.
const STEPS: usize = 8;
/// How long to wait for a listing before asking for the next segment by name: the listing says more in one answer.
const PATIENCE_MS: u64 = 300;
/// First and longest pause after the store did not answer.
const BACK_OFF_MS: (u64, u64) = (50, 5_000);

/// Names one request to know the end of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Walk(u64);

#[derive(Default)]
enum Phase {
    #[default]
    Idle,
    /// The store did not answer.
    Paused(Millis),
    /// The next segment is asked for by its name, before anything is listed.
    Asking,
    Listing,
    /// The listing under way is of no use any more.
    Discarding,
    /// What was listed or read does not show where the log continues: it is being found out.
    Checking,
    Reading,
}

/// What is being read. A walk requested during another one begins after it.
#[derive(Default)]
pub(super) struct CatchUp {
    phase: Phase,
    wanted: Walk,
    /// Which requests the current walk will have answered when it ends.
    serves: Walk,
    served: Walk,
    /// The entry at which a walk may end, if all that wants one only heard of that entry; `None` if the end of the log
    /// is wanted.
    until: Option<Index>,
    listed: BTreeSet<SegmentName>,
    /// Requested by name, and on its way.
    asked: Option<SegmentName>,
    /// Not to be requested by name again in this walk.
    absent: Option<SegmentName>,
    /// How many that were requested by name were there, so that there may be more.
    steps: usize,
    /// When to go on without the listing.
    impatient_at: Millis,
    reading: BTreeSet<SegmentName>,
    found: BTreeMap<SegmentName, Vec<u8>>,
    back_off_ms: u64,
}

/// What to do next about a walk.
pub(super) enum Next {
    /// Nothing, until something arrives.
    Wait,
    /// List the log.
    List,
    /// Read these.
    Read(Vec<SegmentName>),
    /// Take this segment, then ask again.
    Apply(SegmentName, Vec<u8>),
    /// The log ends here: nothing listed continues it. Note that, then ask again.
    End,
    /// Nothing listed continues the log, and yet more is listed. Call [`CatchUp::checked`] if that is garbage.
    Beyond,
}

impl CatchUp {
    /// Asks for a walk to the end of the log that begins after now.
    pub(super) fn want(&mut self) -> Walk {
        self.wanted = Walk(self.wanted.0 + 1);
        self.until = None;
        self.wanted
    }

    /// Asks for a walk to the end of the log, unless one is under way or asked for. One that need not go that far goes on
    /// to the end.
    pub(super) fn want_any(&mut self) {
        if self.wanted == self.served {
            self.want();
        }
        self.until = None;
    }

    /// Somebody says that this entry is in the store: asks for a walk that far, unless one to the end is under way or
    /// asked for.
    pub(super) fn want_until(&mut self, claimed: Index) {
        if self.wanted == self.served {
            self.want();
            self.until = Some(claimed);
        } else if let Some(until) = &mut self.until {
            *until = claimed.max(*until);
        }
    }

    /// When there is something to do next that does not wait for the store.
    pub(super) const fn deadline(&self) -> Option<Millis> {
        match self.phase {
            Phase::Paused(until) => Some(until),
            Phase::Listing => Some(self.impatient_at),
            Phase::Idle | Phase::Asking | Phase::Discarding | Phase::Checking | Phase::Reading => None,
        }
    }

    /// Whether that walk has ended.
    pub(super) fn has_done(&self, walk: Walk) -> bool {
        self.served >= walk
    }

    /// What to do, if the log goes on with `name`; `None` while that is not known. `may_list`: whether no other listing
    /// is under way.
    pub(super) fn next(&mut self, now: Millis, name: Option<SegmentName>, may_list: bool) -> Next {
        if self.is_far_enough(name) {
            self.serves = self.wanted;
            self.checked();
        }
        match self.phase {
            Phase::Paused(until) if now < until => Next::Wait,
            Phase::Idle if self.served == self.wanted => Next::Wait,
            Phase::Idle | Phase::Paused(_) => {
                self.phase = Phase::Asking;
                self.serves = self.wanted;
                (self.absent, self.steps) = (None, 0);
                self.ask(now, name, may_list)
            }
            Phase::Asking | Phase::Listing => self.ask(now, name, may_list),
            Phase::Discarding | Phase::Checking => Next::Wait,
            Phase::Reading => self.follow(name),
        }
    }

    /// Whether the log, which goes on with `name`, is known as far as was wanted, with nothing listed.
    fn is_far_enough(&self, name: Option<SegmentName>) -> bool {
        let waits = self.served != self.wanted;
        let by_name = matches!(self.phase, Phase::Idle | Phase::Paused(_) | Phase::Asking);
        let reached = |until| name.is_some_and(|name| name.first > until);
        waits && by_name && self.until.is_some_and(reached)
    }

    /// Goes on segment by segment. Lists as soon as a listing may show more.
    fn ask(&mut self, now: Millis, name: Option<SegmentName>, may_list: bool) -> Next {
        if let Some((name, bytes)) = name.and_then(|name| self.found.remove_entry(&name)) {
            // Not asked for again if nothing comes back.
            self.absent = Some(name);
            return Next::Apply(name, bytes);
        }
        let unknown = name.is_none() || name == self.absent;
        let more = self.steps > if self.until.is_some() { STEPS } else { 0 };
        if matches!(self.phase, Phase::Asking) && may_list && (unknown || more) {
            self.phase = Phase::Listing;
            self.impatient_at = now.after(PATIENCE_MS);
            return Next::List;
        }
        let waits = matches!(self.phase, Phase::Listing) && now < self.impatient_at;
        match name {
            Some(name) if !waits && !unknown && self.asked.is_none() && self.reading.insert(name) => {
                self.asked = Some(name);
                Next::Read(vec![name])
            }
            _ => Next::Wait,
        }
    }

    fn follow(&mut self, name: Option<SegmentName>) -> Next {
        let on_chain = name.filter(|name| {
            self.listed.retain(|listed| listed.first >= name.first);
            self.found.retain(|found, _| found.first >= name.first);
            self.listed.contains(name) || self.reading.contains(name) || self.found.contains_key(name)
        });
        let Some(name) = on_chain else {
            // What is still being read may no longer be needed: it was pushed meanwhile.
            let over = |read: &SegmentName| name.is_some_and(|name| read.first < name.first);
            if self.listed.is_empty() && self.found.is_empty() && self.reading.iter().all(over) {
                self.checked();
                return Next::End;
            }
            self.phase = Phase::Checking;
            return Next::Beyond;
        };
        if let Some(bytes) = self.found.remove(&name) {
            return Next::Apply(name, bytes);
        }
        let mut read = Vec::new();
        if self.listed.remove(&name) && self.reading.insert(name) {
            read.push(name);
        }
        while self.reading.len() + self.found.len() < READ_AHEAD
            && let Some(ahead) = self.listed.pop_first()
        {
            if self.reading.insert(ahead) {
                read.push(ahead);
            }
        }
        if read.is_empty() { Next::Wait } else { Next::Read(read) }
    }

    /// Whether a listing is under way.
    pub(super) const fn is_listing(&self) -> bool {
        matches!(self.phase, Phase::Listing | Phase::Discarding)
    }

    /// The listing has come, but where to begin in it is not known yet. Returns whether it is wanted at all.
    pub(super) const fn check(&mut self) -> bool {
        let wanted = matches!(self.phase, Phase::Listing);
        if wanted {
            self.phase = Phase::Checking;
        } else if matches!(self.phase, Phase::Discarding) {
            self.phase = Phase::Idle;
        }
        wanted
    }

    /// The walk has ended: what else was listed is garbage.
    pub(super) fn checked(&mut self) {
        self.listed.clear();
        self.found.clear();
        self.phase = Phase::Idle;
        self.served = self.serves;
        self.back_off_ms = 0;
    }

    /// The listing has come.
    pub(super) fn listed(&mut self, names: BTreeSet<SegmentName>) {
        match self.phase {
            Phase::Listing | Phase::Checking => {
                // What was listed must be there.
                self.asked.take_if(|asked| names.contains(asked));
                self.listed = names;
                self.phase = Phase::Reading;
            }
            Phase::Discarding => self.phase = Phase::Idle,
            Phase::Idle | Phase::Paused(_) | Phase::Asking | Phase::Reading => {}
        }
    }

    /// Forgets what it has read: the log will be read from its beginning.
    pub(super) fn start_over(&mut self) {
        self.listed.clear();
        self.found.clear();
        self.phase = match self.phase {
            Phase::Listing | Phase::Discarding => Phase::Discarding,
            Phase::Idle | Phase::Paused(_) | Phase::Asking | Phase::Checking | Phase::Reading => Phase::Idle,
        };
    }

    /// Whether this segment is being read.
    pub(super) fn wants(&self, name: SegmentName) -> bool {
        self.reading.contains(&name)
    }

    /// A segment has come; `None` if it did not, and the walk begins again.
    pub(super) fn read(&mut self, now: Millis, name: SegmentName, bytes: Option<Vec<u8>>) {
        self.reading.remove(&name);
        let asked = self.asked.take_if(|asked| *asked == name).is_some();
        let expected = match self.phase {
            Phase::Idle | Phase::Paused(_) | Phase::Discarding => false,
            Phase::Asking | Phase::Listing | Phase::Checking => asked,
            Phase::Reading => true,
        };
        match bytes {
            _ if !expected => {}
            Some(bytes) => {
                // Counts even if it was pushed meanwhile: a walk that only asks by name, alongside the pushes, would
                // never end.
                self.steps += usize::from(asked);
                self.found.insert(name, bytes);
            }
            // Not there yet, or not readable now: the listing will tell.
            None if asked => self.absent = Some(name),
            None => self.pause(now),
        }
    }

    /// Begins the walk again after a pause, twice as long each time.
    pub(super) fn pause(&mut self, now: Millis) {
        let (first, longest) = BACK_OFF_MS;
        self.back_off_ms = self.back_off_ms.saturating_mul(2).clamp(first, longest);
        self.pause_for(now, self.back_off_ms);
    }

    /// Begins the walk again after this pause.
    pub(super) fn pause_for(&mut self, now: Millis, ms: u64) {
        self.listed.clear();
        self.found.clear();
        self.phase = Phase::Paused(now.after(ms));
    }
}
