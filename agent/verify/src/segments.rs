//! The segments of a log that are still stored, beside the tree over it.
//!
//! What is committed is in the tree, so a segment up to the checkpoint can be judged: it goes on from an entry of the tree as the
//! tree does, or it was altered. One that follows another entry is what a leader left that lost its place: it is no part of
//! the log, and harmless. Beyond the checkpoint nothing says which of two segments is of the log. That an HSM made an entry cannot be told
//! from outside at all, but by the checkpoint above it.

use crate::failure::{Failure, Fault};
use crate::published::{Hashes, Published};
use crate::source::{ReadError, Source};
use futures::TryStreamExt;
use std::collections::BTreeMap;
use strongroom_proto::ids::{EntryHash, GroupId, Index, RealmId};
use strongroom_replica::segment::{MAX_SEGMENT_BYTES, Segment, SegmentName};

/// How many segments are read at once. Each is up to 3 MiB, and more once it is taken apart.
const PARALLEL: usize = 8;
/// How many segments beyond the checkpoint are put in order. Each takes about 100 bytes.
const MAX_AHEAD: usize = 65_536;

/// The part of a segment that lies beyond the checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Link {
    first: Index,
    prev: EntryHash,
    last: (Index, EntryHash),
}

/// Where a segment lies.
enum Place {
    /// It is of the tree; and what of it lies beyond.
    Within(u64, Option<Link>),
    /// It lies beyond the checkpoint.
    Beyond(Link),
    /// It lost its place.
    Apart,
    /// It was deleted meanwhile.
    Gone,
}

/// What was found.
#[derive(Default)]
struct Found {
    within: u64,
    entries: u64,
    apart: u64,
    gone: u64,
    strange: u64,
    ahead: Vec<Link>,
    uncounted: u64,
}

/// Whose log it is.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) realm: RealmId,
    pub(crate) group: GroupId,
}

/// Compares all segments with the tree, which was found to be right.
///
/// # Errors
/// [`Failure::Segment`].
pub(crate) async fn check(
    source: &Source,
    owner: Owner,
    published: &Published<'_>,
    progress: impl Fn(u64),
) -> Result<(String, Vec<String>), Fault> {
    let (hashes, mut found, mut done) = (Hashes::new(published), Found::default(), 0);
    let folder = SegmentName::folder(&owner.group);
    let names = source.list(&folder).map_ok(|name| format!("{folder}/{name}").parse::<SegmentName>().ok());
    let placed = names.map_err(Fault::from).map_ok(|name| {
        let hashes = &hashes;
        async move {
            match name {
                Some(name) => place(source, owner, name, hashes, published.size()).await.map(Some),
                None => Ok(None),
            }
        }
    });
    let mut placed = placed.try_buffered(PARALLEL);
    while let Some(place) = placed.try_next().await? {
        found.add(place);
        done += 1;
        progress(done);
    }
    let newest = hashes.of(Index(published.size())).await.map_err(unknown)?;
    Ok(found.told(published.size(), newest))
}

/// Whether the log of a group says that it is of this realm, as far as its first segment can be read. Nothing of it is proved.
pub(crate) async fn claims(source: &Source, owner: Owner) -> Result<bool, Fault> {
    let folder = SegmentName::folder(&owner.group);
    let mut names = source.list(&folder);
    while let Some(name) = names.try_next().await? {
        let name = format!("{folder}/{name}");
        if name.parse::<SegmentName>().is_err() {
            continue;
        }
        match source.read(&name, MAX_SEGMENT_BYTES as u64).await {
            Ok(bytes) => {
                // What cannot be read is not passed over in silence.
                return Ok(
                    Segment::decode(&bytes).map_or(true, |segment| segment.first().realm == owner.realm)
                );
            }
            Err(ReadError::Absent { .. }) => {}
            Err(ReadError::TooLong { .. }) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

async fn place(
    source: &Source,
    owner: Owner,
    name: SegmentName,
    hashes: &Hashes<'_, '_>,
    size: u64,
) -> Result<Place, Fault> {
    let failure = |why: String| Fault::from(Failure::Segment { object: name.to_string(), why });
    let bytes = match source.read(&name.to_string(), MAX_SEGMENT_BYTES as u64).await {
        Ok(bytes) => bytes,
        Err(ReadError::Absent { .. }) => return Ok(Place::Gone),
        Err(ReadError::TooLong { .. }) => return Err(failure("is longer than a segment may be".into())),
        Err(error) => return Err(error.into()),
    };
    let segment = Segment::decode(&bytes).map_err(|bad| failure(bad.to_string()))?;
    if segment.name() != name {
        return Err(failure(format!("holds another segment, {}", segment.name())));
    }
    let first = segment.first();
    if first.realm != owner.realm {
        return Err(failure(format!("is of another realm, {}", first.realm)));
    }
    let before = first.index.0.checked_sub(1).ok_or_else(|| failure("begins with entry 0".into()))?;
    let last = (segment.last().index, segment.last().hash());
    if first.index.0 > size {
        return Ok(Place::Beyond(Link { first: first.index, prev: first.prev, last }));
    }
    if first.prev != hashes.of(Index(before)).await.map_err(unknown)? {
        return Ok(Place::Apart);
    }
    let mut entries = 0;
    for made in segment.entries().iter().take_while(|made| made.entry.index.0 <= size) {
        let (index, hash) = (made.entry.index, made.entry.hash());
        let wanted = hashes.of(index).await.map_err(unknown)?;
        if hash != wanted {
            return Err(failure(format!(
                "is not what was committed: its entry {index} has the hash {hash}, and the tree has {wanted}"
            )));
        }
        entries += 1;
    }
    let ahead = segment.entries().iter().map(|made| &made.entry).find(|entry| entry.index.0 > size);
    Ok(Place::Within(entries, ahead.map(|entry| Link { first: entry.index, prev: entry.prev, last })))
}

/// What is wrong with a tile is said where tiles are checked.
fn unknown(fault: Fault) -> Fault {
    match fault {
        Fault::Failed(failure) => Fault::Unknown(format!("segments cannot be compared: {failure}")),
        unknown @ Fault::Unknown(_) => unknown,
    }
}

impl Found {
    fn add(&mut self, place: Option<Place>) {
        let ahead = match place {
            None => return self.strange += 1,
            Some(Place::Gone) => return self.gone += 1,
            Some(Place::Apart) => return self.apart += 1,
            Some(Place::Beyond(link)) => Some(link),
            Some(Place::Within(entries, ahead)) => {
                self.within += 1;
                self.entries += entries;
                ahead
            }
        };
        match ahead {
            Some(_) if self.ahead.len() >= MAX_AHEAD => self.uncounted += 1,
            ahead => self.ahead.extend(ahead),
        }
    }

    fn told(&self, size: u64, newest: EntryHash) -> (String, Vec<String>) {
        let (end, followed, competing) = follow(&self.ahead, size, newest);
        let mut notes = Vec::new();
        let told = format!(
            "{} segments with {} entries are those of the tree; {} entries follow the checkpoint",
            self.within,
            self.entries,
            end - size
        );
        if competing > 0 {
            notes.push(format!(
                "after entry {end}, {competing} segments compete: which of them is of the log, only a later checkpoint tells"
            ));
        }
        let loose = (self.ahead.len() as u64 + self.uncounted).saturating_sub(followed + competing);
        if loose > 0 {
            notes.push(format!(
                "{loose} segments beyond the checkpoint do not lead on from it; nothing can be said of them"
            ));
        }
        if self.apart > 0 {
            notes.push(format!("{} segments lost their place in the log, and are no part of it", self.apart));
        }
        if self.gone > 0 {
            notes.push(format!("{} segments were deleted while they were read", self.gone));
        }
        if self.strange > 0 {
            notes
                .push(format!("{} objects beside the segments have names that no segment has", self.strange));
        }
        (told, notes)
    }
}

/// How far one chain leads on from the checkpoint, in how many segments, and how many compete where it ends.
fn follow(ahead: &[Link], size: u64, newest: EntryHash) -> (u64, u64, u64) {
    let mut after: BTreeMap<(u64, EntryHash), Vec<&Link>> = BTreeMap::new();
    for link in ahead {
        after.entry((link.first.0, link.prev)).or_default().push(link);
    }
    let (mut end, mut hash, mut followed) = (size, newest, 0);
    loop {
        let next = end.checked_add(1).and_then(|first| after.get(&(first, hash)));
        match next.map(Vec::as_slice) {
            None | Some([]) => return (end, followed, 0),
            Some([link]) => {
                (end, hash) = (link.last.0.0, link.last.1);
                followed += 1;
            }
            Some(several) => return (end, followed, several.len() as u64),
        }
    }
}
