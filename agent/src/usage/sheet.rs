//! The objects in which agents keep what they counted.
//!
//! A sheet is what one agent counted on one day since it started. Its object is never changed: what was counted since is
//! in the next *edition*, under a name of its own, which holds all that the one before did. Of each sheet only the newest
//! edition counts. So an edition whose creation had no answer is counted once, whether it is there or not.
//!
//! Whoever may write to the store can put anything there, so what is read is bounded, and has one form.

use super::date::{Day, Month};
use super::sample::{MAX_USERS, Sample};
use super::tally::{Counts, MAX_TENANT_BYTES, MAX_TENANTS, NUMBERS, Tallies, Tally};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use strongroom_proto::bounded::{at_most, end_of_item};
use strongroom_proto::ids::{HsmId, RealmId};

/// The form of a sheet.
const VERSION: u8 = 1;
/// The longest sheet that is read, in bytes: every tenant with every user that is kept of it, and 512 bytes for the rest.
pub const MAX_SHEET_BYTES: usize = MAX_TENANTS * (8 * MAX_USERS + 512) + 1024;

/// Where the sheets of a month are.
#[must_use]
pub fn sheets(realm: RealmId, month: Month) -> String {
    format!("realms/{realm}/usage/{month}")
}

/// The name of an edition: `<day>-<hsm>-<sheet>-<edition>`, the last three in hexadecimal digits: 32, 16 and 8.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct SheetName {
    /// The day, in UTC.
    #[n(0)]
    pub day: Day,
    /// The HSM of the agent that counted.
    #[n(1)]
    pub hsm: HsmId,
    /// Which of the day's sheets of that agent. Random when the agent starts, so that it never continues a sheet of before,
    /// and one more for each further sheet.
    #[n(2)]
    pub sheet: u64,
    /// Which edition. Each holds all that those before hold.
    #[n(3)]
    pub edition: u32,
}

impl SheetName {
    /// The object with this name.
    #[must_use]
    pub fn object(&self, realm: RealmId) -> String {
        format!("{}/{self}", sheets(realm, self.day.month()))
    }

    /// The sheet of which it is an edition.
    #[must_use]
    pub const fn first_edition(self) -> Self {
        Self { edition: 0, ..self }
    }
}

impl fmt::Display for SheetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:016x}-{:08x}", self.day, self.hsm, self.sheet, self.edition)
    }
}

impl FromStr for SheetName {
    type Err = BadSheet;

    fn from_str(text: &str) -> Result<Self, BadSheet> {
        let read = |text: &str| {
            let (month, rest) = text.split_at_checked("2026-11".len())?;
            let mut parts = rest.strip_prefix('-')?.split('-');
            let day = Day::of(month.parse().ok()?, parts.next()?.parse().ok()?)?;
            let hsm = HsmId(hex::decode(parts.next()?).ok()?.try_into().ok()?);
            let sheet = u64::from_str_radix(parts.next()?, 16).ok()?;
            let edition = u32::from_str_radix(parts.next()?, 16).ok()?;
            Some(Self { day, hsm, sheet, edition })
        };
        // The one way to write it, and nothing after it.
        read(text).filter(|name| name.to_string() == text).ok_or(BadSheet::Name)
    }
}

/// Why an object is no sheet, or not the one that its name says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum BadSheet {
    /// The name is none.
    #[error("its name is not that of a sheet; delete it, no agent wrote it")]
    Name,
    /// More bytes than any has, or nothing was there when it was read.
    #[error(
        "it has more bytes than a sheet may have, or went away while it was read; look again, and delete it if it stays"
    )]
    TooLong,
    /// Of another version.
    #[error("another version of the agent wrote it; read it with that version")]
    OtherVersion,
    /// Not the form of one, or not the only form that says what it says.
    #[error("it does not have the form of a sheet; what was in it is lost, delete it")]
    Form,
    /// A copy of another sheet.
    #[error("it is a copy of an object with another name; delete it")]
    OtherName,
    /// Its tenants are none, or not in order.
    #[error("its tenants are not tenants, or not in order; no agent wrote it, delete it")]
    Tenants,
    /// There are not as many counts as operations, or one is larger than a day's can be.
    #[error("no day has as many operations as it says; no agent wrote it, delete it")]
    Counts,
    /// Its users are not what is kept of any.
    #[error("its users are not what an agent keeps of them; no agent wrote it, delete it")]
    Users,
}

/// What an agent counted on a day, in one edition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sheet {
    /// Its name.
    pub name: SheetName,
    /// What was counted.
    pub tallies: Tallies,
}

/// [`Sheet`], as it is written.
#[derive(Encode, Decode)]
struct Written {
    #[n(0)]
    version: u8,
    #[n(1)]
    name: SheetName,
    #[cbor(n(2), decode_with = "at_most::<MAX_TENANTS, _, _>")]
    tenants: Vec<WrittenTenant>,
    #[cbor(n(3), decode_with = "at_most::<NUMBERS, _, _>")]
    others: Vec<u64>,
}

#[derive(Encode, Decode)]
struct WrittenTenant {
    #[n(0)]
    tenant: String,
    #[cbor(n(1), decode_with = "at_most::<NUMBERS, _, _>")]
    counts: Vec<u64>,
    #[n(2)]
    level: u32,
    /// 8 bytes for each, big-endian, ascending.
    #[n(3)]
    users: ByteVec,
}

impl WrittenTenant {
    fn new(tenant: &str, tally: &Tally) -> Self {
        let users: Vec<u8> = tally.users.users().iter().flat_map(|user| user.to_be_bytes()).collect();
        let (counts, level) = (tally.counts.numbers().to_vec(), tally.users.level());
        Self { tenant: tenant.to_owned(), counts, level, users: users.into() }
    }

    fn read(&self) -> Result<Tally, BadSheet> {
        let users: Option<Vec<u64>> = match self.users.len() <= 8 * MAX_USERS {
            true => {
                self.users.chunks(8).map(|user| Some(u64::from_be_bytes(user.try_into().ok()?))).collect()
            }
            false => None,
        };
        let users = users.and_then(|users| Sample::of(self.level, users)).ok_or(BadSheet::Users)?;
        Ok(Tally { counts: Counts::of(&self.counts).ok_or(BadSheet::Counts)?, users })
    }
}

impl Sheet {
    /// Its bytes, at most [`MAX_SHEET_BYTES`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let tenants = self.tallies.tenants().iter();
        let written = Written {
            version: VERSION,
            name: self.name,
            tenants: tenants.map(|(tenant, tally)| WrittenTenant::new(tenant, tally)).collect(),
            others: self.tallies.others().numbers().to_vec(),
        };
        minicbor::to_vec(written).expect("memory takes all bytes")
    }

    /// Reads the object with this name.
    ///
    /// # Errors
    /// [`BadSheet`].
    pub fn read(name: &SheetName, bytes: &[u8]) -> Result<Self, BadSheet> {
        let sheet = Self::from_bytes(bytes)?;
        if sheet.name == *name { Ok(sheet) } else { Err(BadSheet::OtherName) }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, BadSheet> {
        if bytes.len() > MAX_SHEET_BYTES {
            return Err(BadSheet::TooLong);
        }
        // Walked over first: what a decoder passes over may be nested as deep as it is long.
        if end_of_item(&mut Decoder::new(bytes)) != Some(bytes.len()) {
            return Err(BadSheet::Form);
        }
        let mut head = Decoder::new(bytes);
        match head.array().and_then(|_| head.u8()) {
            Ok(VERSION) => {}
            Ok(_) => return Err(BadSheet::OtherVersion),
            Err(_) => return Err(BadSheet::Form),
        }
        let written: Written = minicbor::decode(bytes).map_err(|_| BadSheet::Form)?;
        if !written.name.day.is_possible() {
            return Err(BadSheet::Form);
        }
        let is_tenant = |name: &str| !name.is_empty() && name.len() <= MAX_TENANT_BYTES;
        let ascend = written.tenants.is_sorted_by(|one, next| one.tenant < next.tenant);
        if !ascend || !written.tenants.iter().all(|of| is_tenant(&of.tenant)) {
            return Err(BadSheet::Tenants);
        }
        let mut tenants = BTreeMap::new();
        for of in &written.tenants {
            tenants.insert(of.tenant.clone(), of.read()?);
        }
        let others = Counts::of(&written.others).ok_or(BadSheet::Counts)?;
        let sheet = Self { name: written.name, tallies: Tallies::new(tenants, others) };
        if sheet.to_bytes() == bytes { Ok(sheet) } else { Err(BadSheet::Form) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::operation::Operation;
    use super::super::tally::Used;
    use super::*;

    fn name() -> SheetName {
        SheetName { day: Day::at(1_796_083_199), hsm: HsmId([7; 16]), sheet: 3, edition: 9 }
    }

    fn largest() -> Sheet {
        let mut tallies = Tallies::default();
        for user in 0..MAX_USERS as u64 {
            let user = user.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let used = Used { tenant: "acme", operation: Operation::Recover2, answered: true, user };
            tallies.count(&used);
        }
        let tally = Tally {
            counts: Counts::of(&[1 << 40; NUMBERS]).expect("as many as are taken"),
            users: tallies.tenants()["acme"].users.clone(),
        };
        let name = |n: usize| format!("{n:0>MAX_TENANT_BYTES$}");
        let tenants = (0..MAX_TENANTS).map(|n| (name(n), tally.clone())).collect();
        Sheet { name: self::name(), tallies: Tallies::new(tenants, tally.counts) }
    }

    fn small() -> Sheet {
        let mut tallies = Tallies::default();
        for (tenant, operation, answered, user) in [
            ("acme", Operation::Register2, true, 5),
            ("acme", Operation::Recover2, false, 6),
            ("globex", Operation::Delete, true, 7),
        ] {
            tallies.count(&Used { tenant, operation, answered, user });
        }
        Sheet { name: name(), tallies }
    }

    #[test]
    fn a_sheet_is_read_as_it_was_written_and_the_largest_fits() {
        let small = small();
        assert_eq!(Sheet::read(&name(), &small.to_bytes()), Ok(small));
        let mut largest = largest();
        let bytes = largest.to_bytes();
        assert!(bytes.len() <= MAX_SHEET_BYTES, "{} bytes", bytes.len());
        assert!(bytes.len() > MAX_TENANTS * 8 * MAX_USERS, "every user is in it");
        assert_eq!(Sheet::read(&name(), &bytes), Ok(largest.clone()));
        largest.name.edition += 1;
        assert_eq!(Sheet::read(&name(), &largest.to_bytes()), Err(BadSheet::OtherName));
    }

    #[test]
    fn what_is_cut_short_or_goes_on_or_is_changed_is_refused() {
        let bytes = small().to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Sheet::read(&name(), &bytes[..end]), Err(BadSheet::Form), "{end}");
        }
        assert_eq!(Sheet::read(&name(), &[&bytes[..], &[0]].concat()), Err(BadSheet::Form));
        assert_eq!(Sheet::read(&name(), &vec![0; MAX_SHEET_BYTES + 1]), Err(BadSheet::TooLong));
        // Whatever a byte is changed to: refused, or another sheet in its one form, never a panic.
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                if let Ok(read) = Sheet::read(&name(), &changed) {
                    assert_eq!(read.to_bytes(), changed);
                }
            }
        }
    }

    fn written(tenants: Vec<WrittenTenant>) -> Result<Sheet, BadSheet> {
        let written = Written { version: VERSION, name: name(), tenants, others: vec![0; NUMBERS] };
        Sheet::read(&name(), &minicbor::to_vec(written).expect("memory"))
    }

    fn tenant(tenant: &str, counts: usize, level: u32, users: &[u8]) -> WrittenTenant {
        let (tenant, counts, users) = (tenant.to_owned(), vec![1; counts], users.to_vec().into());
        WrittenTenant { tenant, counts, level, users }
    }

    #[test]
    fn each_part_that_no_agent_writes_is_refused_by_its_name() {
        let good = |name: &str| tenant(name, NUMBERS, 0, &7_u64.to_be_bytes());
        assert!(written(vec![good("acme"), good("globex")]).is_ok());
        let two = |one: u64, two: u64| [one.to_be_bytes(), two.to_be_bytes()].concat();
        for (tenants, expected) in [
            (vec![good("globex"), good("acme")], BadSheet::Tenants),
            (vec![good("acme"), good("acme")], BadSheet::Tenants),
            (vec![good("")], BadSheet::Tenants),
            (vec![good(&"x".repeat(MAX_TENANT_BYTES + 1))], BadSheet::Tenants),
            (vec![tenant("acme", NUMBERS - 1, 0, &[])], BadSheet::Counts),
            (vec![tenant("acme", NUMBERS + 1, 0, &[])], BadSheet::Form),
            (vec![tenant("acme", NUMBERS, 0, &[0; 7])], BadSheet::Users),
            (vec![tenant("acme", NUMBERS, 0, &two(2, 1))], BadSheet::Users),
            (vec![tenant("acme", NUMBERS, 0, &two(1, 1))], BadSheet::Users),
            (vec![tenant("acme", NUMBERS, 63, &two(0, 1))], BadSheet::Users),
            (vec![tenant("acme", NUMBERS, u32::MAX, &[])], BadSheet::Users),
            (vec![tenant("acme", NUMBERS, 0, &[0; 8 * MAX_USERS + 8])], BadSheet::Users),
            ((0..=MAX_TENANTS).map(|n| good(&format!("{n:04}"))).collect(), BadSheet::Form),
        ] {
            assert_eq!(written(tenants), Err(expected));
        }
        let bytes = |version, others: Vec<u64>| {
            let written = Written { version, name: name(), tenants: vec![], others };
            minicbor::to_vec(written).expect("memory")
        };
        let read = |bytes: &[u8]| Sheet::read(&name(), bytes).expect_err("refused");
        assert_eq!(read(&bytes(VERSION + 1, vec![0; NUMBERS])), BadSheet::OtherVersion);
        assert_eq!(read(&bytes(VERSION, vec![u64::MAX; NUMBERS])), BadSheet::Counts);
        // As deep as it is long.
        assert_eq!(read(&vec![0x81; 1 << 20]), BadSheet::Form);
    }

    #[test]
    fn names_have_one_form() {
        let text = name().to_string();
        assert_eq!(text, "2026-11-30-07070707070707070707070707070707-0000000000000003-00000009");
        assert_eq!(text.parse(), Ok(name()));
        assert_eq!(name().object(RealmId([1; 16])).split('/').next_back(), Some(text.as_str()));
        let (upper, more, sign) = (text.replace('7', "A"), format!("{text}-1"), text.replace("-000", "-+00"));
        let none = text.replace("-30-", "-32-");
        for text in [
            "",
            "-",
            "2026-11",
            "ü026-11-30",
            &text[1..],
            &text[..text.len() - 1],
            &upper,
            &more,
            &sign,
            &none,
        ] {
            assert_eq!(text.parse::<SheetName>(), Err(BadSheet::Name), "{text}");
        }
    }
}
