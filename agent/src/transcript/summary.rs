//! What a transcript tells, for people. Texts from the file are shown without anything that a terminal would obey.

use super::chain::{Chain, head_words};
use super::story::{Export, Story};
use super::whole::Expected;
use std::fmt::{self, Write as _};

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rehearsal {
            writeln!(f, "*** REHEARSAL: nothing here is real. No realm of it may be used for anything. ***")?;
        }
        let (first, last) = self.times.as_ref().map_or(("", ""), |(first, last)| (first, last));
        let entries = self.entries;
        writeln!(f, "transcript  {entries} entries, from {} to {}", shown(first), shown(last))?;
        let Some((realm, public_key, rules)) = &self.realm else {
            return writeln!(f, "realm       none is named");
        };
        writeln!(f, "realm       {realm}")?;
        writeln!(f, "public key  {public_key}")?;
        let (threshold, all) = (rules.threshold, rules.custodians.len());
        match rules.smallest_group {
            _ if all == 0 => writeln!(f, "policy      closed: no other HSM ever gets the realm")?,
            Some(fewest) => writeln!(
                f,
                "policy      {threshold} of {all} custodians; a group has at least {fewest} HSMs"
            )?,
            None => writeln!(f, "policy      {threshold} of {all} custodians")?,
        }
        for custodian in &rules.custodians {
            writeln!(f, "custodian   {custodian}")?;
            let parts = self.took_part.get(custodian).map_or(&[][..], Vec::as_slice);
            // `realm found` carries the signature that `realm sign` made.
            let first = |i: usize, what: &str| !parts.iter().take(i).any(|(_, before)| before == what);
            for (_, (n, what)) in parts.iter().enumerate().filter(|(i, (_, what))| first(*i, what)) {
                writeln!(f, "            signed {what}, entry {n}")?;
            }
            for (n, _) in self.heads.iter().filter(|(_, who)| who == custodian) {
                writeln!(f, "            signed the transcript up to entry {}", n.saturating_sub(1))?;
            }
        }
        self.hsms(f)?;
        for (custodian, n) in self.did_not_sign_the_end() {
            writeln!(f, "note        entry {n}: custodian {custodian} took part, and did not sign the end")?;
        }
        self.notes.iter().try_for_each(|(n, note)| writeln!(f, "note        entry {n}: {}", shown(note)))
    }
}

impl Story {
    /// What a reader may believe after [`Story::whole`] said yes to this.
    #[must_use]
    pub fn verdict(&self, expected: &Expected) -> String {
        let signed = if expected.closed {
            "it is whole, and nobody signed it"
        } else {
            "it is whole, and custodians signed all of it"
        };
        let rehearsal = if self.rehearsal { ", as a REHEARSAL and as nothing else" } else { "" };
        let keys = ", if these are your custodians' keys: compare them, or name them with --custodian";
        let keys = if expected.custodians.is_empty() && !expected.closed { keys } else { "" };
        let end = "as far as it goes: whether later entries were cut off, only a head that was written down tells (--head)";
        match (keys, &expected.head) {
            ("", Some(_)) => format!("OK{rehearsal}: {signed}"),
            ("", None) if self.rehearsal => format!("{signed}\nOK{rehearsal}, {end}"),
            ("", None) => format!("{signed}\nOK {end}"),
            (keys, Some(_)) => format!("{signed}\nOK{rehearsal}{keys}"),
            (keys, None) => format!("{signed}\nOK{rehearsal}{keys}; and {end}"),
        }
    }

    fn hsms(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(founding) = &self.founding {
            writeln!(f, "HSM         {}", founding.hsm)?;
            writeln!(f, "            build {}", founding.build)?;
            match &self.made {
                Some((n, time)) => writeln!(f, "            made the realm, entry {n}, {}", shown(time))?,
                None => writeln!(f, "            made the realm, as the founding says")?,
            }
        }
        for Export { entry, time, approval, signers, .. } in &self.exports {
            let to = &approval.to;
            writeln!(f, "HSM         {}", to.hsm)?;
            writeln!(f, "            device key {}", to.device_key)?;
            writeln!(f, "            build {}", to.build)?;
            let (count, from) = (signers.len(), approval.from);
            writeln!(
                f,
                "            exported from HSM {from}, entry {entry}, {}, approved by {count}",
                shown(time)
            )?;
            match self.imports.iter().find(|(n, _, import)| import.hsm == to.hsm && n > entry) {
                Some((n, time, _)) => writeln!(f, "            imported, entry {n}, {}", shown(time))?,
                None => writeln!(f, "            that it imported the realm is not in this transcript")?,
            }
        }
        Ok(())
    }
}

impl Chain {
    /// The head, for people to write down and compare.
    #[must_use]
    pub fn head_text(&self) -> String {
        let (head, mut text) = (self.head(), String::new());
        let _ = writeln!(text, "head        {head}");
        let _ = writeln!(text, "            {}", head_words(&head));
        text
    }
}

/// At most this much of a text from the file.
const SHOWN: usize = 400;

fn shown(text: &str) -> String {
    seen(text.chars().take(SHOWN))
}

/// A text from strangers as a person may read it: what a terminal obeys, or nobody sees, is replaced.
pub(crate) fn seen(text: impl IntoIterator<Item = char>) -> String {
    text.into_iter().map(|c| if is_seen(c) { c } else { '\u{fffd}' }).collect()
}

/// Whether a character is no control, format or separator of lines (general categories Cc, Cf, Zl, Zp of Unicode 17), and no
/// selector or tag, by which a text could look like another one, or say something that nobody sees.
fn is_seen(c: char) -> bool {
    let hidden = match c {
        '\u{ad}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}' | '\u{180e}' | '\u{feff}' => true,
        '\u{600}'..='\u{605}' | '\u{890}'..='\u{891}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{fe00}'..='\u{fe0f}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' => true,
        '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        _ => c.is_control(),
    };
    !hidden
}
