//! What all agents of a realm wrote about a month, in one sum.

use super::date::Month;
use super::sheet::{BadSheet, MAX_SHEET_BYTES, Sheet, SheetName, sheets};
use super::tally::Tallies;
use crate::store::{Hint, Purpose, Store};
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::ids::RealmId;

/// The most objects of a month that are looked at: a thousand agents that start twice a day.
const MAX_OBJECTS: usize = 1 << 16;
/// How many are read at once.
const READING: usize = 4;
/// How often the month is listed: what is replaced between a listing and a read is found in the next.
const LOOKS: usize = 4;

/// What a realm's agents wrote about a month.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MonthUsage {
    /// The sum.
    pub tallies: Tallies,
    /// Of how many sheets.
    pub sheets: usize,
    /// What is beside them, and is in no sum.
    pub passed_over: Vec<PassedOver>,
}

/// An object that was passed over.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PassedOver {
    /// Its name, without the path to it.
    pub object: String,
    /// Why.
    pub why: BadSheet,
}

/// Why there is no sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The store did not answer.
    #[error("the object store did not answer; see that it can be reached, and run this again")]
    Unavailable,
    /// There are more objects than are looked at.
    #[error("the month has more than 65,536 objects below `usage`; delete those that no agent wrote")]
    TooMany,
    /// Sheets were replaced as fast as they were read.
    #[error("agents replaced what was being read again and again; run this again")]
    Restless,
}

/// Of each sheet, the newest edition. The others are in it.
#[must_use]
pub fn newest(names: impl IntoIterator<Item = SheetName>) -> BTreeSet<SheetName> {
    let mut newest = BTreeMap::new();
    for name in names {
        let edition = newest.entry(name.first_edition()).or_insert(name.edition);
        *edition = name.edition.max(*edition);
    }
    newest.into_iter().map(|(sheet, edition)| SheetName { edition, ..sheet }).collect()
}

/// Sums what the store holds of a month.
///
/// # Errors
/// [`ReadError`]. Objects that are no sheets are passed over, and named.
pub async fn read_month(store: &Store, realm: RealmId, month: Month) -> Result<MonthUsage, ReadError> {
    let store = store.with_purpose(Purpose::Usage);
    let (mut sum, mut read, mut missed) = (MonthUsage::default(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..LOOKS {
        let (names, others) = list(&store, realm, month).await?;
        sum.passed_over.retain(|passed| passed.why != BadSheet::Name);
        sum.passed_over.extend(others);
        let unread = newest(names).into_iter().filter(|name| !read.contains(&name.first_edition()));
        let unread: Vec<SheetName> = unread.collect();
        if unread.is_empty() {
            sum.passed_over.sort_unstable();
            return Ok(sum);
        }
        let gone = take(&store, realm, unread, &mut sum, &mut read).await?;
        for name in gone {
            // Once, and an agent may have replaced it. It is still listed, so it is too long.
            if !missed.insert(name) {
                read.insert(name.first_edition());
                sum.passed_over.push(PassedOver { object: name.to_string(), why: BadSheet::TooLong });
            }
        }
    }
    Err(ReadError::Restless)
}

/// The sheets of a month by name, and what else is there.
async fn list(
    store: &Store,
    realm: RealmId,
    month: Month,
) -> Result<(Vec<SheetName>, Vec<PassedOver>), ReadError> {
    let objects = store.hints(&sheets(realm, month), MAX_OBJECTS + 1).await;
    let objects = objects.map_err(|_| ReadError::Unavailable)?;
    if objects.len() > MAX_OBJECTS {
        return Err(ReadError::TooMany);
    }
    let (mut names, mut others) = (Vec::new(), Vec::new());
    for object in objects {
        match object.parse::<SheetName>() {
            Ok(name) if name.day.month() == month => names.push(name),
            Ok(_) => others.push(PassedOver { object, why: BadSheet::Name }),
            Err(why) => others.push(PassedOver { object, why }),
        }
    }
    Ok((names, others))
}

/// Reads these, and adds them to the sum. Returns those that were not there, or are too long to be read.
async fn take(
    store: &Store,
    realm: RealmId,
    names: Vec<SheetName>,
    sum: &mut MonthUsage,
    read: &mut BTreeSet<SheetName>,
) -> Result<Vec<SheetName>, ReadError> {
    let reads = names.into_iter().map(|name| async move {
        let hint = store.hint(&name.object(realm), MAX_SHEET_BYTES).await;
        (name, hint)
    });
    let (mut reads, mut gone) = (futures::stream::iter(reads).buffer_unordered(READING), Vec::new());
    while let Some((name, hint)) = reads.next().await {
        let sheet = match hint {
            Hint::Found(bytes) => Sheet::read(&name, &bytes),
            Hint::None => {
                gone.push(name);
                continue;
            }
            Hint::Unavailable => return Err(ReadError::Unavailable),
        };
        read.insert(name.first_edition());
        match sheet {
            Ok(sheet) => {
                sum.tallies.add(&sheet.tallies);
                sum.sheets += 1;
            }
            Err(why) => sum.passed_over.push(PassedOver { object: name.to_string(), why }),
        }
    }
    Ok(gone)
}
