//! What an agent says about itself in the store, where the other agents of the realm look for it.
//!
//! Whoever may write to the store can put anything there, so this is a hint and nothing more: where to look for an HSM's
//! agent. Who is found there is in its certificate.
//!
//! An announcement is one object that is never changed. Its name says whose it is, when it was made, and a digest of what
//! is in it, so that whoever lists them knows which of them it need not read.

use super::PeerUrl;
use minicbor::{Decode, Decoder, Encode};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use strongroom_proto::bounded::{at_most, end_of_item};
use strongroom_proto::hsm::MAX_GROUPS;
use strongroom_proto::ids::{GroupId, HsmId, RealmId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::MAX_MEMBERS;

/// The longest announcement that is read, in bytes.
pub(crate) const MAX_ANNOUNCEMENT_BYTES: usize = 32 * 1024;
/// How many prefixes of one group are announced.
const MAX_PREFIXES: usize = 32;
/// The longest address and the longest version, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// Where the announcements of a realm's agents are.
pub(crate) fn announcements(realm: RealmId) -> String {
    format!("realms/{realm}/agents")
}

/// What an agent says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Announcement {
    /// Its HSM.
    #[n(0)]
    pub hsm: HsmId,
    /// Where other agents reach it: a [`PeerUrl`].
    #[n(1)]
    address: String,
    /// The SHA-256 of its authority's certificate, the same for all agents of one epoch, for an operator to compare. Not of its
    /// own certificate: that is replaced so often that all agents would read all announcements again and again.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub authority: [u8; 32],
    /// The agent's version.
    #[n(3)]
    pub version: String,
    /// The groups of its HSM.
    #[cbor(n(4), decode_with = "at_most::<MAX_GROUPS, _, _>")]
    pub groups: Vec<AnnouncedGroup>,
}

/// A group of an announced HSM.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct AnnouncedGroup {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// Its members.
    #[cbor(n(1), decode_with = "at_most::<MAX_MEMBERS, _, _>")]
    pub members: Vec<HsmId>,
    /// The prefixes of records that it owns, as far as the agent knows.
    #[cbor(n(2), decode_with = "at_most::<MAX_PREFIXES, _, _>")]
    pub prefixes: Vec<Prefix>,
}

/// Why an object is no announcement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAnnouncement {
    /// More bytes than any has.
    #[error("it has more bytes than an announcement may have; delete it")]
    TooLong,
    /// Not the bytes that its name says.
    #[error("it is not what its name says; delete it, its agent writes another")]
    OtherDigest,
    /// It does not have the form of one, or not the only form that says what it says.
    #[error(
        "it does not have the form of an announcement; delete it, or start all agents in the same version"
    )]
    Form,
    /// It is about another HSM than its name.
    #[error("it is about another HSM than its name says; delete it")]
    OtherHsm,
    /// The address is none.
    #[error("its address is not `https://host:port`; set `peer_announce` at its agent")]
    Address,
    /// A text is longer than any is.
    #[error("a text in it is too long; delete it")]
    TooMuchText,
}

impl Announcement {
    /// Says this. Prefixes of a group beyond as many as fit are left out.
    #[must_use]
    pub fn new(
        hsm: HsmId,
        address: &PeerUrl,
        authority: [u8; 32],
        version: &str,
        mut groups: Vec<AnnouncedGroup>,
    ) -> Self {
        groups.truncate(MAX_GROUPS);
        groups.iter_mut().for_each(|group| group.prefixes.truncate(MAX_PREFIXES));
        Self { hsm, address: address.0.to_string(), authority, version: version.to_owned(), groups }
    }

    /// Where other agents reach it.
    ///
    /// # Errors
    /// [`NoAnnouncement::Address`].
    pub fn address(&self) -> Result<PeerUrl, NoAnnouncement> {
        PeerUrl::try_from(self.address.clone()).map_err(|_| NoAnnouncement::Address)
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("memory takes all bytes")
    }

    /// Reads the object with this name.
    ///
    /// # Errors
    /// [`NoAnnouncement`].
    pub fn read(name: &AnnouncementName, bytes: &[u8]) -> Result<Self, NoAnnouncement> {
        if bytes.len() <= MAX_ANNOUNCEMENT_BYTES && digest(bytes) != name.digest {
            return Err(NoAnnouncement::OtherDigest);
        }
        let read = Self::from_bytes(bytes)?;
        if read.hsm == name.hsm { Ok(read) } else { Err(NoAnnouncement::OtherHsm) }
    }

    /// Reads these bytes, whatever object they were in.
    ///
    /// # Errors
    /// [`NoAnnouncement`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NoAnnouncement> {
        if bytes.len() > MAX_ANNOUNCEMENT_BYTES {
            return Err(NoAnnouncement::TooLong);
        }
        // Walked over first: what a decoder passes over may be nested as deep as it is long.
        if end_of_item(&mut Decoder::new(bytes)) != Some(bytes.len()) {
            return Err(NoAnnouncement::Form);
        }
        let read: Self = minicbor::decode(bytes).map_err(|_| NoAnnouncement::Form)?;
        if read.to_bytes() != bytes {
            return Err(NoAnnouncement::Form);
        }
        if read.address.len().max(read.version.len()) > MAX_TEXT_BYTES {
            return Err(NoAnnouncement::TooMuchText);
        }
        read.address()?;
        Ok(read)
    }
}

/// The name of an announcement: `<hsm>-<number>-<digest>`, in hexadecimal digits: 32, 16 and 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AnnouncementName {
    /// Whose it is.
    pub hsm: HsmId,
    /// When it was made, in Unix seconds, but more than the number of each that it replaces.
    pub number: u64,
    /// What is in it: the first 8 bytes of a SHA-256.
    pub digest: u64,
}

impl AnnouncementName {
    /// The name of these bytes of this HSM's agent.
    #[must_use]
    pub fn new(hsm: HsmId, number: u64, bytes: &[u8]) -> Self {
        Self { hsm, number, digest: digest(bytes) }
    }

    /// The object with this name.
    pub(crate) fn object(&self, realm: RealmId) -> String {
        format!("{}/{self}", announcements(realm))
    }
}

impl fmt::Display for AnnouncementName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}-{:016x}", self.hsm, self.number, self.digest)
    }
}

impl FromStr for AnnouncementName {
    type Err = NoAnnouncement;

    fn from_str(text: &str) -> Result<Self, NoAnnouncement> {
        let read = |text: &str| {
            let mut parts = text.split('-');
            let hsm = HsmId(hex::decode(parts.next()?).ok()?.try_into().ok()?);
            let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
            Some(Self { hsm, number: number()?, digest: number()? })
        };
        // The one way to write it, and nothing after it.
        read(text).filter(|name| name.to_string() == text).ok_or(NoAnnouncement::Form)
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.iter_mut().zip(Sha256::digest(bytes)).for_each(|(to, from)| *to = from);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::ids::RecordId;

    const HSM: HsmId = HsmId([7; 16]);

    fn url(text: &str) -> PeerUrl {
        PeerUrl::try_from(text.to_owned()).expect("an address")
    }

    fn largest() -> Announcement {
        let prefixes = vec![Prefix::of(&RecordId([0xff; 32]), 256).expect("short enough"); 2 * MAX_PREFIXES];
        let group = AnnouncedGroup { group: GroupId([1; 16]), members: vec![HSM; MAX_MEMBERS], prefixes };
        Announcement::new(
            HSM,
            &url("https://host.example:8701"),
            [3; 32],
            "0.1.0",
            vec![group; 2 * MAX_GROUPS],
        )
    }

    #[test]
    fn the_largest_announcement_is_read_as_it_was_written() {
        let said = largest();
        let bytes = said.to_bytes();
        assert!(bytes.len() < MAX_ANNOUNCEMENT_BYTES, "{}", bytes.len());
        let name = AnnouncementName::new(HSM, 5, &bytes);
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!(Announcement::read(&name, &bytes), Ok(said));
    }

    #[test]
    fn what_is_cut_short_or_goes_on_or_is_changed_is_refused() {
        let mut said = largest();
        said.groups.truncate(1);
        let bytes = said.to_bytes();
        let name = AnnouncementName::new(HSM, 5, &bytes);
        for end in 0..bytes.len() {
            assert_eq!(Announcement::read(&name, &bytes[..end]), Err(NoAnnouncement::OtherDigest));
            let of_these = AnnouncementName::new(HSM, 5, &bytes[..end]);
            assert_eq!(Announcement::read(&of_these, &bytes[..end]), Err(NoAnnouncement::Form));
        }
        let longer = [&bytes[..], &[0]].concat();
        let of_these = AnnouncementName::new(HSM, 5, &longer);
        assert_eq!(Announcement::read(&of_these, &longer), Err(NoAnnouncement::Form));
        // Whatever a byte is changed to: refused, or another announcement in its one form, never a panic.
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let of_these = AnnouncementName::new(HSM, 5, &changed);
                if let Ok(read) = Announcement::read(&of_these, &changed) {
                    assert_eq!(read.to_bytes(), changed);
                }
            }
        }
    }

    #[test]
    fn what_is_too_long_or_about_another_hsm_or_leads_nowhere_is_refused() {
        let refused = |said: &Announcement, hsm| {
            let bytes = said.to_bytes();
            Announcement::read(&AnnouncementName::new(hsm, 1, &bytes), &bytes).expect_err("refused")
        };
        assert_eq!(refused(&largest(), HsmId([8; 16])), NoAnnouncement::OtherHsm);
        for address in ["http://host:1", "https://host/path", "", "https://user@host:1", "file:///etc/passwd"]
        {
            let said = Announcement { address: address.into(), ..largest() };
            assert_eq!(refused(&said, HSM), NoAnnouncement::Address, "{address}");
        }
        let said = Announcement { version: "x".repeat(MAX_TEXT_BYTES + 1), ..largest() };
        assert_eq!(refused(&said, HSM), NoAnnouncement::TooMuchText);
        let group = |members, prefixes| AnnouncedGroup { group: GroupId([1; 16]), members, prefixes };
        for groups in [
            vec![group(vec![HSM; MAX_MEMBERS + 1], Vec::new())],
            vec![group(Vec::new(), vec![Prefix::WHOLE; MAX_PREFIXES + 1])],
            vec![group(Vec::new(), Vec::new()); MAX_GROUPS + 1],
        ] {
            assert_eq!(refused(&Announcement { groups, ..largest() }, HSM), NoAnnouncement::Form);
        }
        let said = Announcement { version: "x".repeat(MAX_ANNOUNCEMENT_BYTES), ..largest() };
        assert_eq!(refused(&said, HSM), NoAnnouncement::TooLong);
    }

    #[test]
    fn names_have_one_form() {
        let name = AnnouncementName { hsm: HSM, number: u64::MAX, digest: 10 }.to_string();
        assert_eq!(name.parse::<AnnouncementName>().map(|name| name.number), Ok(u64::MAX));
        let upper = name.to_uppercase();
        let (more, sign) = (format!("{name}-1"), name.replace("-00", "-+0"));
        for text in
            ["", "-", "--", &name[1..], &name[..name.len() - 1], &upper, &more, &sign, "..", "a/b-c-d"]
        {
            assert_eq!(text.parse::<AnnouncementName>(), Err(NoAnnouncement::Form), "{text}");
        }
    }
}
