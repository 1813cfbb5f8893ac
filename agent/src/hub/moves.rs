//! Moving a prefix from one group to another, a step at a time, wherever the groups' leaders are. What the next step is, and
//! what it takes, is decided in [`strongroom_replica::moving`].

use super::Hub;
use super::orders::{End, OrderError, Wanted};
use strongroom_proto::change::Evidence;
use strongroom_proto::entry::Entry;
use strongroom_proto::ids::GroupId;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_replica::Order;
use strongroom_replica::moving::{Did, Move, NotMoved, Outcome, Task};

/// Why a step was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum MoveError {
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error("a group does not move a prefix to itself; name another with --to")]
    ToItself,
    #[error("no group that is known here has prefix {0}; name the one that has it with --from")]
    FromNowhere(Prefix),
    #[error(
        "group {group} owns {owned} and no tree of prefix {prefix}; split or merge what it owns first, with `partition split` or \
         `partition merge`"
    )]
    NotOwned { group: GroupId, prefix: Prefix, owned: String },
    #[error(transparent)]
    NotMoved(NotMoved),
}

impl From<NotMoved> for MoveError {
    fn from(error: NotMoved) -> Self {
        match error {
            NotMoved::Unknown => Self::Order(OrderError::Unknown),
            NotMoved::OtherRoot => Self::NotMoved(error),
        }
    }
}

impl Hub {
    /// Takes the next step of moving a prefix. Returns what was done, and whether there is nothing left to do.
    pub(crate) async fn move_on(
        &self,
        prefix: Prefix,
        from: Option<GroupId>,
        to: GroupId,
    ) -> Result<(String, bool), MoveError> {
        let destination = self.committed(to).await?;
        let from = from.or_else(|| self.source(prefix, &destination.entry));
        let from = match from {
            Some(from) if from == to => return Err(MoveError::ToItself),
            Some(from) => from,
            None if destination.entry.partitions.iter().any(|p| p.prefix == prefix) => {
                return Ok((format!("group {to} has it"), true));
            }
            None => return Err(MoveError::FromNowhere(prefix)),
        };
        let source = self.committed(from).await?;
        let owned = listed(source.entry.partitions.iter().map(|p| p.prefix));
        match self.take_step(prefix, from, to, Move::new(prefix, source, destination)).await? {
            Did::NotOwned => Err(MoveError::NotOwned { group: from, prefix, owned }),
            did => Ok(said(did, from, to)),
        }
    }

    /// Takes the next step of a move that has begun, and begins none. `None` if it is over.
    pub(crate) async fn go_on(
        &self,
        prefix: Prefix,
        from: GroupId,
        to: GroupId,
    ) -> Result<Option<String>, MoveError> {
        let (source, destination) = (self.committed(from).await?, self.committed(to).await?);
        let step = Move::new(prefix, source, destination);
        if !step.has_begun() {
            return Ok(None);
        }
        Ok(Some(said(self.take_step(prefix, from, to, step).await?, from, to).0))
    }

    /// What a group has committed; of one that nobody leads any more because it has retired, its last entry.
    async fn committed(&self, group: GroupId) -> Result<Evidence, MoveError> {
        match self.shown(group, &Wanted::Show(false)).await {
            Ok(shown) => Ok(shown),
            // One that leads a group that has retired may find no majority any more.
            Err(error) => Ok(self.last_entry(group).await.ok_or(error)?),
        }
    }

    /// Does all that one step takes.
    async fn take_step(
        &self,
        prefix: Prefix,
        from: GroupId,
        to: GroupId,
        mut step: Move,
    ) -> Result<Did, MoveError> {
        let mut outcome = None;
        loop {
            outcome = Some(match step.go_on(outcome)? {
                Task::Done(did) => return Ok(did),
                Task::Order(group, Order::Show { stored }) => {
                    Outcome::Shown(Box::new(self.shown(group, &Wanted::Show(stored)).await?))
                }
                Task::Order(group, Order::Step(change)) => {
                    Outcome::Shown(Box::new(self.shown(group, &Wanted::Step(change)).await?))
                }
                Task::Copy => match self.order(to, &Wanted::Adopt(prefix, from)).await? {
                    End::Adopted(root, records) => Outcome::Copied(root, records),
                    _ => return Err(MoveError::Order(OrderError::Unknown)),
                },
                Task::Order(..) => return Err(MoveError::Order(OrderError::Unknown)),
            });
        }
    }

    /// Takes the next step of moving all that a group owns, one prefix after another.
    pub(crate) async fn move_all_on(&self, from: GroupId, to: GroupId) -> Result<(String, bool), MoveError> {
        let source = self.shown(from, &Wanted::Show(false)).await?.entry;
        let leaves = source.open.iter().find_map(|transfer| match transfer {
            Transfer::Outgoing { destination, prefix, .. } if *destination == to => Some(*prefix),
            _ => None,
        });
        let Some(prefix) = leaves.or_else(|| source.partitions.first().map(|p| p.prefix)) else {
            return Ok((format!("group {from} owns nothing any more"), true));
        };
        let (done, _) = self.move_on(prefix, Some(from), to).await?;
        Ok((format!("prefix {}: {done}", listed(std::iter::once(prefix))), false))
    }

    /// The group from which a prefix is to come: the one that is awaited, or one here that owns it, whole or in part.
    fn source(&self, prefix: Prefix, destination: &Entry) -> Option<GroupId> {
        let awaited = destination.open.iter().find_map(|transfer| match transfer {
            Transfer::Incoming { source, prefix: awaited, .. } if *awaited == prefix => Some(*source),
            _ => None,
        });
        let owns = |status: &strongroom_replica::Status| status.prefixes.iter().any(|p| p.overlaps(&prefix));
        let mut groups = self.groups().into_iter().filter(|(group, _)| *group != destination.group);
        awaited
            .or_else(|| groups.find(|(_, status)| owns(status)).map(|(group, _)| group))
            .or_else(|| self.peers.owner(&prefix, &destination.group))
    }
}

/// What was done, for people, and whether there is nothing left to do.
fn said(did: Did, from: GroupId, to: GroupId) -> (String, bool) {
    match did {
        Did::HasIt => (format!("group {to} has it"), true),
        Did::NotOwned => (format!("group {from} does not own it"), false),
        Did::Begun(records) => (format!("{records} records copied; group {from} has let go of it"), false),
        Did::LetGo => (format!("group {from} has let go of it"), false),
        Did::Refused => (
            format!("group {from} lets go of nothing that is awaited now: it does not own it any more"),
            false,
        ),
        Did::GivenUp => {
            (format!("group {to} waits no longer: group {from} has decided something else since"), false)
        }
        Did::Taken(records) => {
            (format!("group {to} has taken it over, with {records} records that had changed"), false)
        }
        Did::Closed(has_it) => (format!("group {from} has closed the move to group {to}"), has_it),
    }
}

/// Prefixes, for people.
pub(crate) fn listed(prefixes: impl Iterator<Item = Prefix>) -> String {
    let name = |prefix: Prefix| if prefix.len() == 0 { "all".to_owned() } else { prefix.to_string() };
    let names: Vec<String> = prefixes.map(name).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_shown_as_bits_and_the_whole_space_as_all() {
        let (left, right) = Prefix::WHOLE.children().expect("it has halves");
        assert_eq!(listed([left, right].into_iter()), "0, 1");
        assert_eq!(listed([Prefix::WHOLE].into_iter()), "all");
        assert_eq!(listed(std::iter::empty()), "nothing");
    }
}
