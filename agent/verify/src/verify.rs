//! All checks, one after the other.

use crate::check::{Check, Finding, Outcome};
use crate::checkpoint::{MAX_CHECKPOINT, cosigned, signed};
use crate::failure::{Failure, Fault, clean};
use crate::published::Published;
use crate::report::Report;
use crate::segments::{self, Owner};
use crate::source::{ReadError, Source};
use crate::{consistency, founding, rebuild};
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use strongroom_proto::checkpoint::origin;
use strongroom_proto::ids::{GroupId, RealmId};
use strongroom_tlog::{ClaimedCheckpoint, Note, RealmStatement, Resource, VerifiedCheckpoint};

/// The most groups that are looked at.
const MAX_GROUPS: usize = 1024;
/// How many unknown objects are named.
const NAMED: usize = 5;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Asked {
    /// Only this group.
    pub group: Option<GroupId>,
    /// Checkpoints of an earlier time, of any logs.
    pub since: Vec<ClaimedCheckpoint>,
    /// The time now, in seconds since 1970.
    pub now: u64,
    /// How old cosignatures may be, in seconds.
    pub max_age: Option<u64>,
    /// Folders with sources, whose images are to be the statement's builds. Programs in them are run.
    pub rebuild: Vec<PathBuf>,
}

/// What is being done, for whoever waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Tiles and entries under them are read.
    Tiles {
        /// The group.
        group: GroupId,
        /// How many entries were read.
        entries: u64,
        /// Of how many.
        of: u64,
    },
    /// Segments are read.
    Segments {
        /// The group.
        group: GroupId,
        /// How many.
        read: u64,
    },
    /// Sources are built.
    Build(PathBuf),
}

/// Checks what is in a store against the statement of its realm.
pub async fn verify(
    statement: &[u8],
    source: &Source,
    asked: &Asked,
    progress: &(dyn Fn(Step) + Sync),
) -> Report {
    let mut report = Report::default();
    let (statement, finding) = read_statement(statement);
    report.findings.push(finding);
    let Some(statement) = statement else { return report };
    report.findings.push(check_founding(source, &statement).await);
    let auditor = Auditor { source, asked, statement: &statement, progress };
    auditor.groups(&mut report).await;
    auditor.builds(&mut report).await;
    report
}

fn read_statement(bytes: &[u8]) -> (Option<RealmStatement>, Finding) {
    let finding = |outcome: Result<String, Fault>| Finding::new(Check::Statement, "realm", outcome);
    let note = match Note::parse(bytes) {
        Ok(note) => note,
        Err(error) => return (None, finding(Err(Failure::NoStatement(error).into()))),
    };
    let read = RealmStatement::verify(&note).and_then(|statement| Ok((statement.signers(&note)?, statement)));
    match read {
        Err(error) => (None, finding(Err(Failure::Statement(error).into()))),
        Ok((signers, statement)) => {
            let policy = &statement.policy;
            let (of, needed) = (policy.custodians.len(), policy.threshold);
            let told = format!(
                "version {} of realm {}, signed by {signers} of {of} custodians, of which {needed} must",
                statement.version, statement.realm
            );
            let who = policy.custodians.iter().map(|key| format!("custodian {}", key.0));
            let found = finding(Ok(told)).with_notes(who).with_notes([
                "whether these are the right people, nothing here can tell: compare them with those that you expect".into(),
            ]);
            (Some(statement), found)
        }
    }
}

async fn check_founding(source: &Source, statement: &RealmStatement) -> Finding {
    let finding = |outcome: Outcome| Finding::new(Check::Founding, "realm", outcome);
    match founding::check(source, statement).await {
        Ok(Some((told, note))) => finding(Outcome::Passed(told)).with_notes(note),
        Ok(None) => finding(Outcome::Skipped("the store has none".into())),
        Err(fault) => finding(Err(fault).into()),
    }
}

/// Who looks at the groups of a realm.
struct Auditor<'a> {
    source: &'a Source,
    asked: &'a Asked,
    statement: &'a RealmStatement,
    progress: &'a (dyn Fn(Step) + Sync),
}

/// What is known of one group.
struct Found<'e> {
    group: GroupId,
    about: String,
    /// The earlier checkpoints of it.
    earlier: &'e [&'e ClaimedCheckpoint],
}

impl Auditor<'_> {
    const fn realm(&self) -> RealmId {
        self.statement.realm
    }

    async fn groups(&self, report: &mut Report) {
        let unknown = |why: String| Finding::new(Check::Checkpoint, "realm", Outcome::Unknown(why));
        let (earlier, others) = self.earlier();
        report.notes.extend(others);
        let mut groups: BTreeSet<GroupId> = earlier.keys().copied().collect();
        match self.source.folders("groups").await {
            Ok(names) => groups.extend(names.iter().filter_map(|name| name.parse::<GroupId>().ok())),
            Err(error) => report.findings.push(Finding::new(Check::Checkpoint, "realm", Err(error.into()))),
        }
        groups.extend(self.asked.group);
        let limited = |group: &GroupId| self.asked.group.is_none_or(|only| only == *group);
        if groups.len() > MAX_GROUPS && self.asked.group.is_none() {
            let why =
                format!("the store has {} groups, and {MAX_GROUPS} are looked at; name one", groups.len());
            report.findings.push(unknown(why));
        }
        for group in groups.iter().copied().filter(limited).take(MAX_GROUPS) {
            let earlier = earlier.get(&group).map_or(&[][..], Vec::as_slice);
            let found = Found { group, about: format!("group {group}"), earlier };
            let from = report.findings.len();
            let newer = self.group(&found, report).await;
            let passed = report.findings.iter().skip(from).all(|finding| !is_bad(&finding.outcome));
            match newer.filter(|_| passed) {
                Some(newer) => report.remembered.push(newer),
                None => report.remembered.extend(earlier.iter().copied().cloned()),
            }
        }
        let unseen = earlier.iter().filter(|(group, _)| !limited(group)).flat_map(|(_, earlier)| earlier);
        report.remembered.extend(unseen.copied().cloned());
        if !report.findings.iter().any(|finding| finding.check > Check::Founding) {
            report.findings.push(unknown("the store has no checkpoint of this realm; check its URL".into()));
        }
    }

    /// The earlier checkpoints of this realm's groups, and a note on those of others.
    fn earlier(&self) -> (BTreeMap<GroupId, Vec<&ClaimedCheckpoint>>, Option<String>) {
        let prefix = format!("strongroom/{}/", self.realm());
        let (mut earlier, mut others) = (BTreeMap::<GroupId, Vec<&ClaimedCheckpoint>>::new(), 0);
        for checkpoint in &self.asked.since {
            let group = checkpoint.origin().strip_prefix(&prefix).and_then(|group| group.parse().ok());
            match group {
                Some(group) => earlier.entry(group).or_default().push(checkpoint),
                None => others += 1,
            }
        }
        let note = format!("{others} of the earlier checkpoints are of other logs than this realm's");
        (earlier, (others > 0).then_some(note))
    }

    /// All checks of one group. Gives the checkpoint, if the realm has signed it.
    async fn group(&self, found: &Found<'_>, report: &mut Report) -> Option<ClaimedCheckpoint> {
        let folder = format!("groups/{}/tlog", found.group);
        let read = self.source.read(&format!("{folder}/checkpoint"), MAX_CHECKPOINT).await;
        let claimed = match self.claimed(found, read, report).await {
            Ok(claimed) => claimed?,
            Err(fault) => {
                report.findings.push(Finding::new(Check::Checkpoint, &found.about, Err(fault)));
                return None;
            }
        };
        let checkpoint = match signed(&claimed, self.statement, &found.group) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                let failed = Outcome::Failed(Failure::Checkpoint(error));
                report.findings.push(Finding::new(Check::Checkpoint, &found.about, failed));
                return None;
            }
        };
        let (size, root) = (checkpoint.checkpoint().size(), *checkpoint.checkpoint().root());
        let told = format!("{size} entries, signed by the realm");
        report.findings.push(Finding::new(Check::Checkpoint, &found.about, Ok(told)));
        report.findings.push(self.cosignatures(&claimed, found));
        let published = Published::new(self.source, folder, size, root);
        let tiles = self.tiles(found, &published).await;
        let tree = tiles.outcome.is_passed().then_some(&published);
        report.findings.push(tiles);
        report.findings.push(self.consistency(found, &checkpoint, tree).await);
        report.findings.push(self.segments(found, tree).await);
        Some(claimed)
    }

    /// The checkpoint that is there, if there is something to be checked.
    async fn claimed(
        &self,
        found: &Found<'_>,
        read: Result<Vec<u8>, ReadError>,
        report: &mut Report,
    ) -> Result<Option<ClaimedCheckpoint>, Fault> {
        let owner = Owner { realm: self.realm(), group: found.group };
        let wanted = self.asked.group == Some(found.group);
        match read {
            Ok(bytes) => {
                let claimed = ClaimedCheckpoint::parse(&bytes).map_err(Failure::Checkpoint)?;
                let is_ours = claimed.origin() == origin(&owner.realm, &owner.group)
                    || wanted
                    || !found.earlier.is_empty()
                    || segments::claims(self.source, owner).await?;
                if !is_ours {
                    let log = clean(claimed.origin());
                    report.notes.push(format!(
                        "{} has a checkpoint of another log, {log}; it was passed over",
                        found.about
                    ));
                }
                Ok(Some(claimed).filter(|_| is_ours))
            }
            Err(ReadError::Absent { .. }) => {
                if let Some(earlier) = found.earlier.first() {
                    let gone = Failure::Disappeared { earlier: earlier.to_string() };
                    report.findings.push(Finding::new(
                        Check::Consistency,
                        &found.about,
                        Outcome::Failed(gone),
                    ));
                    return Ok(None);
                }
                if wanted || segments::claims(self.source, owner).await? {
                    return Err(Fault::Unknown("no checkpoint of it is published".into()));
                }
                report.notes.push(format!(
                    "{} has neither a checkpoint nor a log of this realm; it was passed over",
                    found.about
                ));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn cosignatures(&self, claimed: &ClaimedCheckpoint, found: &Found<'_>) -> Finding {
        let finding = |outcome: Outcome| Finding::new(Check::Cosignatures, &found.about, outcome);
        match cosigned(claimed, self.statement, &found.group, self.asked.now, self.asked.max_age) {
            Ok((told, notes)) => finding(Outcome::Passed(told)).with_notes(notes),
            Err(fault) => finding(Err(fault).into()),
        }
    }

    /// With each of the earlier checkpoints; what is told is of the last.
    async fn consistency(
        &self,
        found: &Found<'_>,
        checkpoint: &VerifiedCheckpoint,
        tree: Option<&Published<'_>>,
    ) -> Finding {
        let mut outcome = Outcome::Skipped("no earlier checkpoint of it was given".into());
        for earlier in found.earlier {
            let found = consistency::check(earlier, checkpoint, self.statement, &found.group, tree).await;
            outcome = found.into();
            if !outcome.is_passed() {
                break;
            }
        }
        Finding::new(Check::Consistency, &found.about, outcome)
    }

    async fn tiles(&self, found: &Found<'_>, published: &Published<'_>) -> Finding {
        let (group, of) = (found.group, published.size());
        let read = published.read_all(|entries| (self.progress)(Step::Tiles { group, entries, of })).await;
        let told = read.map(|bundles| {
            format!("{of} entries in {bundles} bundles, and all tiles over them, lead to the root")
        });
        let finding = Finding::new(Check::Tiles, &found.about, told);
        match self.unknown_objects(group).await {
            Ok(notes) => finding.with_notes(notes),
            Err(_) if !finding.outcome.is_passed() => finding,
            Err(fault) => Finding::new(Check::Tiles, &found.about, Err(fault)),
        }
    }

    /// What lies below what is published, and is none of it.
    async fn unknown_objects(&self, group: GroupId) -> Result<Option<String>, Fault> {
        let folder = format!("groups/{group}/tlog");
        let (mut names, mut count, mut named) = (self.source.list(&folder), 0_u64, Vec::new());
        while let Some(name) = names.try_next().await? {
            if Resource::parse(&name).is_err() && !is_head(&name) {
                count += 1;
                if named.len() < NAMED {
                    named.push(clean(&name));
                }
            }
        }
        let more = if count > NAMED as u64 { ", …" } else { "" };
        let note = format!("{count} unknown objects below {folder}: {}{more}", named.join(", "));
        Ok((count > 0).then_some(note))
    }

    async fn segments(&self, found: &Found<'_>, tree: Option<&Published<'_>>) -> Finding {
        let finding = |outcome: Outcome| Finding::new(Check::Segments, &found.about, outcome);
        let Some(tree) = tree else {
            return finding(Outcome::Unknown("the tree does not check out; see tiles".into()));
        };
        let (group, owner) = (found.group, Owner { realm: self.realm(), group: found.group });
        let read = |read| (self.progress)(Step::Segments { group, read });
        match segments::check(self.source, owner, tree, read).await {
            Ok((told, notes)) => finding(Outcome::Passed(told)).with_notes(notes),
            Err(fault) => finding(Err(fault).into()),
        }
    }

    async fn builds(&self, report: &mut Report) {
        let mut named: BTreeSet<_> = self.statement.builds.iter().copied().collect();
        for folder in &self.asked.rebuild {
            (self.progress)(Step::Build(folder.clone()));
            let about = folder.display().to_string();
            let outcome = match rebuild::digest(folder).await {
                Err(why) => Outcome::Unknown(why),
                Ok(digest) if self.statement.builds.contains(&digest) => {
                    named.remove(&digest);
                    Outcome::Passed(format!("makes build {digest}"))
                }
                Ok(digest) => {
                    let (folder, builds) = (folder.clone(), self.statement.builds.clone());
                    Outcome::Failed(Failure::OtherBuild { folder, digest, builds })
                }
            };
            report.findings.push(Finding::new(Check::Build, about, outcome));
        }
        for build in named {
            let skipped = Outcome::Skipped("no sources were given that make it".into());
            report.findings.push(Finding::new(Check::Build, build.to_string(), skipped));
        }
        if self.statement.builds.is_empty() && self.asked.rebuild.is_empty() {
            let skipped = Outcome::Skipped("the statement names none".into());
            report.findings.push(Finding::new(Check::Build, "realm", skipped));
        }
    }
}

/// Whether a group with this finding is not to be remembered.
const fn is_bad(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(_) | Outcome::Unknown(_))
}

/// `head/<index>`: what the next leader goes on from. No reader needs it.
fn is_head(name: &str) -> bool {
    let index = name.strip_prefix("head/");
    index.is_some_and(|index| index.len() == 16 && index.bytes().all(|b| b.is_ascii_hexdigit()))
}
