//! What a transcript tells, entry by entry. Each signature is checked where it stands, and each entry against those
//! before it; whether anything is missing is asked at the end ([`super::whole`]).

use super::chain::Chain;
use super::entry::{Approval, Birth, Entry, Event, FORMAT, Hex, Import, Outcome, Rules, Sign, Step};
use super::fault::{Fault, Wrong};
use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::enrolment::{CustodianSignature, ExportApproval, Founding, RealmPolicy};
use strongroom_proto::ids::Digest;

/// What the entries so far tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Story {
    /// How many entries.
    pub(super) entries: usize,
    /// The hash of the last.
    pub(super) head: Option<Digest>,
    pub(super) transcript: Option<Hex<16>>,
    pub(super) rehearsal: bool,
    /// The realm, its public key and its policy.
    pub(super) realm: Option<(Hex<16>, Hex<32>, Rules)>,
    pub(super) founding: Option<Birth>,
    /// Where it says that the realm was made, and when.
    pub(super) made: Option<(usize, String)>,
    /// Where it says that the founding was stored with enough signatures.
    pub(super) founded: Option<usize>,
    /// Who signed what, and where.
    pub(super) took_part: BTreeMap<Hex<32>, Vec<(usize, String)>>,
    pub(super) exports: Vec<Export>,
    pub(super) imports: Vec<(usize, String, Import)>,
    pub(super) heads: Vec<(usize, Hex<32>)>,
    /// Where a custodian had the ceremony end, if nothing but signatures followed.
    pub(super) ended: Option<usize>,
    /// Steps that failed, or of which it is not known how they ended; and clocks that went back.
    pub(super) notes: Vec<(usize, String)>,
    pub(super) times: Option<(String, String)>,
    pending: Option<(usize, Step)>,
}

/// A realm that was sealed to an HSM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Export {
    pub(super) entry: usize,
    pub(super) time: String,
    pub(super) approval: Approval,
    pub(super) signers: BTreeSet<Hex<32>>,
    pub(super) sealed: Hex<32>,
}

impl Story {
    /// What a whole chain tells.
    ///
    /// # Errors
    /// [`Fault`]: the first entry that makes no sense after those before it.
    pub fn of(chain: &Chain) -> Result<Self, Fault> {
        let mut story = Self::default();
        for (entry, own) in &chain.entries {
            let n = story.entries.saturating_add(1);
            story.take(entry, *own).map_err(|wrong| wrong.at(n))?;
        }
        Ok(story)
    }

    /// The realm, once it is known.
    #[must_use]
    pub fn realm(&self) -> Option<Hex<16>> {
        self.realm.as_ref().map(|(realm, ..)| *realm)
    }

    /// Whether it is that of a rehearsal.
    #[must_use]
    pub const fn is_rehearsal(&self) -> bool {
        self.rehearsal
    }

    /// Whether a custodian of the realm has this key.
    #[must_use]
    pub fn has_custodian(&self, key: Hex<32>) -> bool {
        self.realm.as_ref().is_some_and(|(_, _, rules)| rules.custodians.contains(&key))
    }

    /// Whether a custodian ended it, and nothing but signatures followed.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// What a custodian signs now.
    #[must_use]
    pub fn head_to_sign(&self) -> Option<Digest> {
        let n = u32::try_from(self.entries).ok()?;
        Some(Entry::head(self.transcript?, self.rehearsal, n, self.head?))
    }

    /// Takes the next entry of the chain.
    pub(super) fn take(&mut self, entry: &Entry, own: Digest) -> Result<(), Wrong> {
        let n = self.entries.saturating_add(1);
        if !is_time(&entry.time) {
            return Err(Wrong::Time);
        }
        match &entry.event {
            Event::Begun { format, rehearsal } => {
                if n != 1 {
                    return Err(Wrong::Beginning);
                }
                if *format != FORMAT {
                    return Err(Wrong::Format(*format));
                }
                (self.transcript, self.rehearsal) = (Some(entry.transcript), *rehearsal);
            }
            _ if n == 1 => return Err(Wrong::Beginning),
            Event::Started(step) => {
                inputs_count(step)?;
                self.fits(step)?;
                self.unfinished();
                self.pending = Some((n, step.clone()));
            }
            Event::Done(outcome) => {
                let (_, step) = self.pending.take().ok_or(Wrong::NoStep)?;
                self.done(n, &entry.time, &step, outcome)?;
            }
            Event::Failed { why } => {
                let (_, step) = self.pending.take().ok_or(Wrong::NoStep)?;
                self.notes.push((n, format!("`{}` failed: {why}", step.command())));
            }
            Event::Unknown { why } => {
                let (_, step) = self.pending.take().ok_or(Wrong::NoStep)?;
                self.notes.push((n, format!("`{}` may have been done, or not: {why}", step.command())));
            }
            Event::Ended {} => self.unfinished(),
            Event::Signed(sign) => self.head_signed(n, sign)?,
        }
        match entry.event {
            Event::Ended {} => self.ended = Some(n),
            Event::Signed(_) => {}
            _ => self.ended = None,
        }
        self.time(n, &entry.time);
        (self.entries, self.head) = (n, Some(own));
        Ok(())
    }

    /// A step of which no outcome was written.
    fn unfinished(&mut self) {
        if let Some((n, step)) = self.pending.take() {
            self.notes.push((n, format!("`{}` began, and how it ended is not known", step.command())));
        }
    }

    fn time(&mut self, n: usize, time: &str) {
        let first = match self.times.take() {
            Some((first, last)) => {
                if *time < *last {
                    self.notes.push((n, format!("the clock said {time}, after {last}")));
                }
                first
            }
            None => time.to_owned(),
        };
        self.times = Some((first, time.to_owned()));
    }

    fn done(&mut self, n: usize, time: &str, step: &Step, outcome: &Outcome) -> Result<(), Wrong> {
        match (step, outcome) {
            (Step::Create(asked), Outcome::Created(founding)) => {
                if founding.policy != *asked {
                    return Err(Wrong::Policy);
                }
                self.is_founding(founding)?;
                if self.made.is_some() {
                    return Err(Wrong::Differs("a second making"));
                }
                self.made = Some((n, time.to_owned()));
            }
            (Step::SignFounding { custodian, founding }, Outcome::FoundingSigned(sign)) => {
                self.is_founding(founding)?;
                self.signed(n, Some(*custodian), sign, &Founding::from(founding).digest(), "the founding")?;
            }
            (Step::Found { founding, .. }, Outcome::Founded(signatures)) => {
                self.is_founding(founding)?;
                let digest = Founding::from(founding).digest();
                self.enough(n, signatures, &digest, "the founding")?;
                self.founded = Some(n);
            }
            (Step::Request {}, Outcome::Requested(_)) => {}
            (Step::Offer { realm, request }, Outcome::Offered(approval)) => {
                if approval.to != *request {
                    return Err(Wrong::Differs("the device of the approval"));
                }
                if approval.realm != *realm {
                    return Err(Wrong::OtherRealm(approval.realm));
                }
                self.is_of(approval.realm, approval.public_key, &approval.policy)?;
            }
            (Step::Approve { custodian, founding, approval }, Outcome::Approved(sign)) => {
                self.is_founding(founding)?;
                self.is_of(approval.realm, approval.public_key, &approval.policy)?;
                let what = format!("the export to HSM {}", approval.to.hsm);
                self.signed(n, Some(*custodian), sign, &ExportApproval::from(approval).digest(), &what)?;
            }
            (Step::Export { approval, signatures }, Outcome::Exported(sealed)) => {
                self.is_of(approval.realm, approval.public_key, &approval.policy)?;
                let (digest, what) = (
                    ExportApproval::from(approval).digest(),
                    format!("the export to HSM {}", approval.to.hsm),
                );
                let signers = self.enough(n, signatures, &digest, &what)?;
                let (time, approval) = (time.to_owned(), approval.clone());
                self.exports.push(Export { entry: n, time, approval, signers, sealed: *sealed });
            }
            (Step::Enrol { realm, sealed }, Outcome::Enrolled(import)) => {
                self.imported(n, time, (*realm, *sealed), import)?;
            }
            _ => return Err(Wrong::Differs("the kind of outcome")),
        }
        Ok(())
    }

    fn imported(
        &mut self,
        n: usize,
        time: &str,
        (realm, sealed): (Hex<16>, Hex<32>),
        import: &Import,
    ) -> Result<(), Wrong> {
        if import.realm != realm {
            return Err(Wrong::OtherRealm(import.realm));
        }
        self.is_of(import.realm, import.public_key, &import.policy)?;
        let mut to_it = self.exports.iter().filter(|export| export.approval.to.hsm == import.hsm).peekable();
        let of = |export: &Export| {
            let to = &export.approval.to;
            export.sealed == sealed
                && (to.device_key, to.build) == (import.device_key, import.build)
                && export.approval.from == import.from
                && import.signed_by.iter().all(|custodian| export.signers.contains(custodian))
        };
        if to_it.peek().is_some() && !to_it.any(of) {
            return Err(Wrong::Differs(
                "what this HSM imported, from which, or what it is and whose signatures it saw,",
            ));
        }
        // The HSM says whose signatures it checked: fewer than the policy wants let no realm in.
        let signers: BTreeSet<_> = import.signed_by.iter().collect();
        if signers.len() < usize::from(import.policy.threshold) {
            return Err(Wrong::TooFew(signers.len(), import.policy.threshold));
        }
        if let Some(stranger) = signers.into_iter().find(|signer| !self.has_custodian(**signer)) {
            return Err(Wrong::Stranger(*stranger));
        }
        self.imports.push((n, time.to_owned(), import.clone()));
        Ok(())
    }

    /// What a step is given goes with the entries before, whatever comes of it: so a step that could not be recorded does not
    /// begin. It settles nothing, since a step that fails says nothing about the realm.
    fn fits(&self, step: &Step) -> Result<(), Wrong> {
        match step {
            Step::Create(_) if self.made.is_some() => Err(Wrong::Differs("a second making")),
            Step::Create(rules) if !RealmPolicy::from(rules).is_valid() => Err(Wrong::Policy),
            Step::Create(_) | Step::Request {} => Ok(()),
            Step::SignFounding { custodian, founding } => {
                self.goes_with_founding(founding)?;
                is_custodian(*custodian, &founding.policy)
            }
            Step::Found { founding, .. } => self.goes_with_founding(founding),
            Step::Offer { realm, .. } | Step::Enrol { realm, .. } => match &self.realm {
                Some((known, ..)) if known != realm => Err(Wrong::OtherRealm(*realm)),
                _ => Ok(()),
            },
            Step::Approve { custodian, founding, approval } => {
                self.goes_with_founding(founding)?;
                is_custodian(*custodian, &approval.policy)?;
                if approval.realm != founding.realm {
                    return Err(Wrong::OtherRealm(approval.realm));
                }
                let same = (approval.public_key, &approval.policy) == (founding.public_key, &founding.policy);
                if same { Ok(()) } else { Err(Wrong::OtherKeys) }
            }
            Step::Export { approval, .. } => {
                self.goes_with(approval.realm, approval.public_key, &approval.policy)
            }
        }
    }

    /// The realm is the one of the entries before, if they name one.
    fn goes_with(&self, realm: Hex<16>, public_key: Hex<32>, policy: &Rules) -> Result<(), Wrong> {
        if !RealmPolicy::from(policy).is_valid() {
            return Err(Wrong::Policy);
        }
        match &self.realm {
            Some((known, ..)) if *known != realm => Err(Wrong::OtherRealm(realm)),
            Some((_, key, rules)) if (*key, rules) != (public_key, policy) => Err(Wrong::OtherKeys),
            _ => Ok(()),
        }
    }

    fn goes_with_founding(&self, founding: &Birth) -> Result<(), Wrong> {
        self.goes_with(founding.realm, founding.public_key, &founding.policy)?;
        match &self.founding {
            Some(known) if known != founding => Err(Wrong::OtherKeys),
            _ => Ok(()),
        }
    }

    /// The realm is the one of the entries before; the first outcome that names it says which.
    fn is_of(&mut self, realm: Hex<16>, public_key: Hex<32>, policy: &Rules) -> Result<(), Wrong> {
        self.goes_with(realm, public_key, policy)?;
        self.realm.get_or_insert_with(|| (realm, public_key, policy.clone()));
        Ok(())
    }

    fn is_founding(&mut self, founding: &Birth) -> Result<(), Wrong> {
        self.goes_with_founding(founding)?;
        self.is_of(founding.realm, founding.public_key, &founding.policy)?;
        self.founding.get_or_insert_with(|| founding.clone());
        Ok(())
    }

    /// One custodian's signature over this, by the one who was to sign if that is known.
    fn signed(
        &mut self,
        n: usize,
        by: Option<Hex<32>>,
        sign: &Sign,
        digest: &Digest,
        what: &str,
    ) -> Result<(), Wrong> {
        if by.is_some_and(|by| by != sign.custodian) {
            return Err(Wrong::Differs("the custodian who signed"));
        }
        if !self.has_custodian(sign.custodian) {
            return Err(Wrong::Stranger(sign.custodian));
        }
        is_over(sign, digest)?;
        self.took_part.entry(sign.custodian).or_default().push((n, what.to_owned()));
        Ok(())
    }

    /// Signatures over this, by as many custodians as the policy wants.
    fn enough(
        &mut self,
        n: usize,
        signatures: &[Sign],
        digest: &Digest,
        what: &str,
    ) -> Result<BTreeSet<Hex<32>>, Wrong> {
        let threshold = self.realm.as_ref().map_or(0, |(_, _, rules)| rules.threshold);
        let signers: BTreeSet<_> = signatures.iter().map(|sign| sign.custodian).collect();
        for sign in signatures {
            self.signed(n, None, sign, digest, what)?;
        }
        if threshold == 0 || signers.len() < usize::from(threshold) {
            return Err(Wrong::TooFew(signers.len(), threshold));
        }
        Ok(signers)
    }

    fn head_signed(&mut self, n: usize, sign: &Sign) -> Result<(), Wrong> {
        if !self.has_custodian(sign.custodian) {
            return Err(Wrong::Stranger(sign.custodian));
        }
        let head = self.head_to_sign().ok_or(Wrong::Beginning)?;
        if !CustodianSignature::from(sign).is_of(&head) {
            return Err(Wrong::BadHead(sign.custodian));
        }
        self.heads.push((n, sign.custodian));
        Ok(())
    }
}

/// The signatures that a step is given are custodians' of its realm, and over what it is about. An HSM ignores others; here
/// they would be read as if they counted.
fn inputs_count(step: &Step) -> Result<(), Wrong> {
    let (signatures, custodians, digest) = match step {
        Step::Found { founding, signatures } => {
            (signatures, &founding.policy.custodians, Founding::from(founding).digest())
        }
        Step::Export { approval, signatures } => {
            (signatures, &approval.policy.custodians, ExportApproval::from(approval).digest())
        }
        _ => return Ok(()),
    };
    signatures.iter().try_for_each(|sign| match custodians.contains(&sign.custodian) {
        true => is_over(sign, &digest),
        false => Err(Wrong::Stranger(sign.custodian)),
    })
}

/// `2026-11-30T09:30:00Z`: times in this form compare as texts.
fn is_time(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00Z";
    let fits = |(c, form): (u8, &u8)| if *form == b'0' { c.is_ascii_digit() } else { c == *form };
    text.len() == form.len() && text.bytes().zip(form).all(fits)
}

fn is_custodian(key: Hex<32>, policy: &Rules) -> Result<(), Wrong> {
    if policy.custodians.contains(&key) { Ok(()) } else { Err(Wrong::Stranger(key)) }
}

fn is_over(sign: &Sign, digest: &Digest) -> Result<(), Wrong> {
    match CustodianSignature::from(sign).is_of(digest) {
        true => Ok(()),
        false => Err(Wrong::BadSignature(sign.custodian)),
    }
}
