//! Whether a transcript is all of a ceremony, signed to its end, and the one that the reader means.

use super::chain::{Chain, head_words};
use super::entry::{Entry, Event, Hex, Rules};
use super::fault::{Fault, Wrong};
use super::story::Story;
use std::collections::BTreeSet;
use strongroom_proto::ids::{Digest, RealmId, X25519Public};

/// What the reader knows from elsewhere. Only the custodians' keys show that a transcript is genuine: whoever makes keys can
/// write one about any realm, whose id and public key are no secrets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// The realm.
    pub realm: Option<RealmId>,
    /// Its public key.
    pub public_key: Option<X25519Public>,
    /// All its custodians; none if they are not known.
    pub custodians: BTreeSet<Hex<32>>,
    /// How many of them are enough; by default, more than half. Counts for nothing if they are not known.
    pub threshold: Option<u8>,
    /// The head that was written down: its words, or 64 hexadecimal digits.
    pub head: Option<String>,
    /// The realm has no custodians.
    pub closed: bool,
}

impl Expected {
    /// Whether the custodians are those that are known, each of them: with one more, it could be that one who wrote it all.
    fn custodians_are(&self, rules: &Rules) -> Result<(), Wrong> {
        let named: BTreeSet<_> = rules.custodians.iter().copied().collect();
        if self.custodians.is_empty() {
            return Ok(());
        }
        if let Some(stranger) = named.difference(&self.custodians).next() {
            return Err(Wrong::OtherCustodian(*stranger));
        }
        if let Some(absent) = self.custodians.difference(&named).next() {
            return Err(Wrong::NoCustodian(*absent));
        }
        let majority = u8::try_from(named.len() / 2 + 1).unwrap_or(u8::MAX);
        match self.threshold.unwrap_or(majority) {
            threshold if threshold == rules.threshold => Ok(()),
            threshold => Err(Wrong::OtherThreshold(rules.threshold, threshold)),
        }
    }
}

impl Story {
    /// Whether nothing is missing, and enough custodians signed its end; and whether it is the transcript that the reader
    /// means.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn whole(&self, chain: &Chain, expected: &Expected) -> Result<(), Fault> {
        let at_end = |wrong: Wrong| wrong.at(self.entries);
        if let Some(head) = &expected.head {
            is_head(chain, head)?;
        }
        let (realm, key, rules) = self.realm.as_ref().ok_or(at_end(Wrong::NotMade))?;
        if expected.realm.is_some_and(|expected| expected.0 != realm.0) {
            return Err(at_end(Wrong::NotExpectedRealm(*realm)));
        }
        if expected.public_key.is_some_and(|expected| expected.0 != key.0) {
            return Err(at_end(Wrong::NotExpectedKey(*key)));
        }
        expected.custodians_are(rules).map_err(at_end)?;
        if expected.closed && !rules.custodians.is_empty() {
            return Err(at_end(Wrong::NotClosed(rules.custodians.len())));
        }
        if self.made.is_none() {
            return Err(at_end(Wrong::NotMade));
        }
        if rules.custodians.is_empty() {
            // Nobody can have approved that another HSM gets it.
            self.enrolments()?;
            return if expected.closed { Ok(()) } else { Err(at_end(Wrong::NobodySigns)) };
        }
        if self.founded.is_none() {
            return Err(at_end(Wrong::NotFounded));
        }
        self.enrolments()?;
        self.signed_to_the_end(chain, rules.threshold)
    }

    /// Each HSM that has the realm got it by an approved export, from one that had it.
    fn enrolments(&self) -> Result<(), Fault> {
        let mut holders: BTreeSet<Hex<16>> = self.founding.iter().map(|founding| founding.hsm).collect();
        for export in &self.exports {
            if !holders.contains(&export.approval.from) {
                return Err(Wrong::UnknownExporter(export.approval.from).at(export.entry));
            }
            holders.insert(export.approval.to.hsm);
        }
        let exported = |hsm: Hex<16>, before: usize| {
            self.exports.iter().any(|export| export.approval.to.hsm == hsm && export.entry < before)
        };
        match self.imports.iter().find(|(n, _, import)| !exported(import.hsm, *n)) {
            Some((n, _, import)) => Err(Wrong::NotExported(import.hsm).at(*n)),
            None => Ok(()),
        }
    }

    /// Custodians who took part and did not sign the end, each with the last entry in which they did. Enough others signed
    /// it, and one who went home, or lost the key, does not take that back.
    pub(super) fn did_not_sign_the_end(&self) -> impl Iterator<Item = (Hex<32>, usize)> {
        let ended = self.ended.unwrap_or(usize::MAX);
        let signed = move |who: &Hex<32>| self.heads.iter().any(|(n, by)| by == who && *n > ended);
        let absent = self.took_part.iter().filter(move |(who, _)| self.ended.is_some() && !signed(who));
        absent.map(|(who, parts)| (*who, parts.iter().map(|(n, _)| *n).max().unwrap_or_default()))
    }

    fn signed_to_the_end(&self, chain: &Chain, threshold: u8) -> Result<(), Fault> {
        let ended = self.ended.ok_or(Wrong::NotEnded.at(self.entries))?;
        let at_end: BTreeSet<_> = self.heads.iter().filter(|(n, _)| *n > ended).map(|(_, who)| who).collect();
        if at_end.len() < usize::from(threshold) {
            return Err(Wrong::Unsigned(at_end.len(), threshold).at(self.entries));
        }
        debug_assert!(
            chain.entries.last().is_some_and(|(entry, _)| matches!(entry.event, Event::Signed(_))),
            "signatures follow the end"
        );
        Ok(())
    }
}

fn is_head(chain: &Chain, typed: &str) -> Result<(), Fault> {
    let is = |head: &Digest| head.to_string() == typed || head_words(head).is_typed(typed);
    let all = chain.entries.len();
    let n = chain.entries.iter().position(|(_, own)| is(own)).map(|i| i.saturating_add(1));
    let n = n.ok_or(Wrong::OtherHead.at(all))?;
    // Whoever wrote the head down and was not the last to sign.
    let is_signed = |(entry, _): &(Entry, Digest)| matches!(entry.event, Event::Signed(_));
    if chain.entries.iter().skip(n).all(is_signed) { Ok(()) } else { Err(Wrong::Longer(n).at(all)) }
}
