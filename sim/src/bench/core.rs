//! What the HSM core takes for each step of a recovery, by the size of batches and the number of records.
//!
//! A core sees of a tree only the paths to the records at hand. So a tree of a million records need not be made: those
//! that are recovered get neighbours, one where each level of their path would have one, and their paths are as long as
//! there.

use super::core_user::User;
use super::curve::Curve;
use super::instructions::{Count, Instructions};
use super::options::Options;
use super::progress::Progress;
use super::report::Core;
use super::tables;
use super::took::Took;
use crate::Error;
use std::sync::Arc;
use strongroom_hsm::Config;
use strongroom_proto::client::{
    Recover1Response, Recover2Response, Recover3Response, SecretsRequest, SecretsResponse,
};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{BatchRequest, Made, NoiseReply, Outcome, PrefixTree, Released, Reply, Request};
use strongroom_proto::ids::{GroupId, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Fresh};
use strongroom_proto::tree::{ClaimedTree, Tree};
use strongroom_testkit::{Custodians, Device, founding};

/// How many records there seem to be, and how long the paths to them are: as long as those of the binary logarithm.
const RECORDS: [(u64, usize); 4] = [(1_000, 10), (10_000, 13), (100_000, 17), (1_000_000, 20)];
/// How many requests a batch has, and in how many rounds each is measured.
const BATCHES: [(usize, usize); 4] = [(1, 25), (16, 9), (64, 5), (128, 5)];
/// How many users recover: as many as the largest batch has, on as many evenly spread paths.
const USERS: usize = 128;
/// The first level at which two of them have no common path.
const APART: usize = 7;
const MEMBERS: usize = 3;

/// Measures, and prints each line when it is known. Returns also why instructions were not counted, if they were not.
///
/// # Errors
/// A core answers otherwise than it must.
pub(super) fn measure(progress: &Progress, options: &Options) -> Result<(Vec<Core>, Option<String>), Error> {
    let wanted = |only: &[u64], number: u64| only.is_empty() || only.contains(&number);
    progress.say("core: starting");
    let mut counter = Instructions::begin();
    let mut rig = Rig::new()?;
    let mut curve = Curve::new(1)?;
    let mut users: Vec<User> = (0..USERS).map(|number| rig.user(spread(number))).collect();
    rig.register(&mut users)?;
    let mut measured = Vec::new();
    progress.tell(&format!("\ncore\n{}", tables::core(&measured).head()));
    let mut deep = APART;
    for (records, levels) in RECORDS {
        for level in deep..levels {
            progress.say(format!("core: level {level} of a tree of {records} records"));
            let mut neighbours: Vec<User> =
                users.iter().map(|user| flipped(user.record, level)).map(|record| rig.user(record)).collect();
            rig.register(&mut neighbours)?;
        }
        deep = levels;
        let batches = BATCHES.iter().filter(|(batch, _)| wanted(&options.core_batches, *batch as u64));
        for &(batch, rounds) in batches.filter(|_| wanted(&options.core_records, records)) {
            progress.say(format!("core: {records} records, {batch} at a time"));
            let mut count = counter.as_mut().ok().map(|counter| || counter.so_far());
            let mut took = Took::counting(count.as_mut().map(|count| -> Count<'_> { count }));
            for _ in 0..rounds {
                rig.recover(&mut users[..batch], &mut took)?;
                took.time("curve of handshake", batch, || (0..batch).for_each(|_| curve.handshake()));
                took.time("curve of recover2", batch, || (0..batch).for_each(|_| curve.recover2()));
            }
            measured.push(took.summary(records, batch));
            progress.tell(&tables::core(&measured).last());
        }
    }
    let uncounted = counter.err().or_else(|| {
        let counted = measured.iter().all(|core| core.instructions.is_some());
        (!counted).then(|| "other programs had the processor's counters meanwhile".into())
    });
    let told = match &uncounted {
        Some(why) => format!("instructions: not measured: {why}\n"),
        None => format!("\ncore, in thousands of instructions\n{}", tables::core_instructions(&measured)),
    };
    progress.tell(&told);
    Ok((measured, uncounted))
}

/// The record of a user: the first bits count the users, and the others are anything.
fn spread(number: usize) -> RecordId {
    let mut id = [0x5a; 32];
    id[0] = (number << (8 - APART)) as u8;
    RecordId(id)
}

/// A record whose path leaves that of another at this level.
fn flipped(RecordId(mut id): RecordId, level: usize) -> RecordId {
    id[level / 8] ^= 0x80 >> (level % 8);
    RecordId(id)
}

/// A group of three cores, of which the first leads, and a host that does as it must.
struct Rig {
    devices: Vec<Device>,
    group: GroupId,
    tree: Tree,
    status: strongroom_proto::hsm::DeviceStatus,
    users: u64,
}

impl Rig {
    fn new() -> Result<Self, Error> {
        let mut devices: Vec<Device> =
            (0..MEMBERS).map(|number| Device::new(number as u64, Config::software())).collect();
        let (status, statement) = founding::found(&mut devices, &Custodians::one());
        let mut rig =
            Self { devices, group: statement.group, tree: Tree::new(Prefix::WHOLE), status, users: 0 };
        match rig.ask(0, &Request::Lead(rig.group, None))? {
            Reply::Leading(_) => {}
            other => return Err(format!("it does not lead: {other:?}").into()),
        }
        rig.entry(&[], &mut Took::default(), "none")?;
        Ok(rig)
    }

    fn user(&mut self, record: RecordId) -> User {
        self.users += 1;
        let realm = self.status.realm.as_ref().expect("it was just made");
        User::new(realm.realm, realm.public_key, record, self.users)
    }

    fn ask(&mut self, device: usize, request: &Request) -> Result<Reply, Error> {
        let request = minicbor::to_vec(request)?;
        let reply: Reply = minicbor::decode(&self.devices[device].handle(&request))?;
        Ok(reply.of_one_group())
    }

    fn timed(
        &mut self,
        request: &Request,
        of: usize,
        took: &mut Took<'_>,
        step: &'static str,
    ) -> Result<Reply, Error> {
        let request = minicbor::to_vec(request)?;
        let reply = took.time(step, of, || self.devices[0].handle(&request));
        Ok(minicbor::decode::<Reply>(&reply)?.of_one_group())
    }

    fn open(&mut self, users: &mut [User], took: &mut Took<'_>) -> Result<(), Error> {
        let count = users.len();
        let started: Vec<_> = users.iter_mut().map(User::start).collect::<Result<_, _>>()?;
        let mut requests = Vec::new();
        for (_, request) in &started {
            requests.push(minicbor::to_vec(Request::Handshake(self.group, request.clone()))?);
        }
        let device = &mut self.devices[0];
        let replies: Vec<Vec<u8>> =
            took.time("handshake", count, || requests.iter().map(|request| device.handle(request)).collect());
        for ((user, (handshake, _)), reply) in users.iter_mut().zip(started).zip(replies) {
            match minicbor::decode(&reply)? {
                Reply::Handshaken(Outcome::Answered(reply)) => user.opened(handshake, &reply)?,
                other => return Err(format!("no session is opened: {other:?}").into()),
            }
        }
        Ok(())
    }

    /// Has the leader run a batch, and has its entry committed, or its reads confirmed. Returns what was released.
    fn entry(
        &mut self,
        requests: &[BatchRequest],
        took: &mut Took<'_>,
        step: &'static str,
    ) -> Result<Vec<NoiseReply>, Error> {
        let (group, of) = (self.group, requests.len().max(1));
        let ids: Vec<RecordId> = requests.iter().map(|request| request.record).collect();
        let tree = ClaimedTree::decode(&self.tree.partial(&ids)?.encode())?;
        let trees = vec![PrefixTree { prefix: Prefix::WHOLE, tree }];
        let request = Request::Process { group, trees, requests: requests.to_vec() };
        match self.timed(&request, of, took, step)? {
            Reply::Processed { made: Some(made), .. } => self.commit(&made, of, took),
            Reply::Processed { made: None, .. } => self.confirm(of, took),
            other => Err(format!("{step}: {other:?}").into()),
        }
    }

    fn confirm(&mut self, of: usize, took: &mut Took<'_>) -> Result<Vec<NoiseReply>, Error> {
        let group = self.group;
        let nonce = match self.timed(&Request::DrawReadNonce(group), of, took, "nonce")? {
            Reply::ReadNonce(nonce) => nonce,
            other => return Err(format!("no nonce: {other:?}").into()),
        };
        let mut statements: Vec<Fresh> = Vec::new();
        for device in 0..MEMBERS {
            let reply = match device {
                0 => self.timed(&Request::Fresh(group, nonce), of, took, "fresh")?,
                _ => self.ask(device, &Request::Fresh(group, nonce))?,
            };
            match reply {
                Reply::Fresh(statement) => statements.push(statement),
                other => return Err(format!("not stated: {other:?}").into()),
            }
        }
        match self.timed(&Request::Confirm { group, statements }, of, took, "confirm")? {
            Reply::Confirmed(reads) => Ok(reads.into_iter().map(|read| read.reply).collect()),
            other => Err(format!("not confirmed: {other:?}").into()),
        }
    }

    fn commit(&mut self, made: &Made, of: usize, took: &mut Took<'_>) -> Result<Vec<NoiseReply>, Error> {
        self.tree.update(made.leaves.iter().map(|leaf| (leaf.record, Arc::from(leaf.sealed.as_slice()))))?;
        let group = self.group;
        let capture = |entry: &Entry| Request::capture(group, vec![entry.clone()]);
        let mut statements: Vec<Captured> = Vec::new();
        for device in 0..MEMBERS {
            let reply = match device {
                0 => self.timed(&capture(&made.entry), of, took, "capture")?,
                _ => self.ask(device, &capture(&made.entry))?,
            };
            match reply {
                Reply::Captured(statement) => statements.push(statement),
                other => return Err(format!("not captured: {other:?}").into()),
            }
        }
        match self.timed(&Request::Commit { group, statements }, of, took, "commit")? {
            Reply::Committed { released, .. } => {
                Ok(released.into_iter().flat_map(|Released { replies, .. }| replies).collect())
            }
            other => Err(format!("not committed: {other:?}").into()),
        }
    }

    /// Registers users, and is not timed.
    fn register(&mut self, users: &mut [User]) -> Result<(), Error> {
        let mut none = Took::default();
        self.open(users, &mut none)?;
        let requests: Vec<_> = users.iter_mut().map(User::register2).collect::<Result<_, _>>()?;
        let replies = self.entry(&requests, &mut none, "register2")?;
        self.read(users, &replies, |answer| matches!(answer, SecretsResponse::Register2))
    }

    /// Recovers as one batch.
    fn recover(&mut self, users: &mut [User], took: &mut Took<'_>) -> Result<(), Error> {
        self.open(users, took)?;
        let send = |users: &mut [User], request: &dyn Fn(&User) -> SecretsRequest| {
            users.iter_mut().map(|user| user.send(&request(user))).collect::<Result<Vec<_>, _>>()
        };
        let requests = send(users, &|_| SecretsRequest::Recover1)?;
        let replies = self.entry(&requests, took, "recover1")?;
        self.read(users, &replies, |answer| {
            matches!(answer, SecretsResponse::Recover1(Recover1Response::Ok { .. }))
        })?;
        let requests = users.iter_mut().map(User::recover2).collect::<Result<Vec<_>, _>>()?;
        let replies = self.entry(&requests, took, "recover2")?;
        self.read(users, &replies, |answer| {
            matches!(answer, SecretsResponse::Recover2(Recover2Response::Ok(_)))
        })?;
        let requests = send(users, &User::recover3)?;
        let replies = self.entry(&requests, took, "recover3")?;
        self.read(users, &replies, |answer| {
            matches!(answer, SecretsResponse::Recover3(Recover3Response::Ok(_)))
        })
    }

    fn read(
        &self,
        users: &mut [User],
        replies: &[NoiseReply],
        is_right: impl Fn(&SecretsResponse) -> bool,
    ) -> Result<(), Error> {
        if replies.len() != users.len() {
            return Err(format!("{} of {} requests were answered", replies.len(), users.len()).into());
        }
        for (user, reply) in users.iter_mut().zip(replies) {
            if !is_right(&user.read(reply)?) {
                return Err("an answer says something else than it must".into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_long_as_there_are_levels() {
        let mut rig = Rig::new().unwrap();
        let mut users: Vec<User> = [0, 64].map(spread).map(|record| rig.user(record)).into();
        rig.register(&mut users).unwrap();
        let paths = |rig: &Rig| rig.tree.partial(&[users[0].record]).unwrap().encode().len();
        let short = paths(&rig);
        let record = users[0].record;
        let neighbours = |levels: std::ops::Range<usize>| levels.map(move |level| flipped(record, level));
        let mut more: Vec<User> = neighbours(APART..10).map(|record| rig.user(record)).collect();
        rig.register(&mut more).unwrap();
        let longer = paths(&rig);
        let mut more: Vec<User> = neighbours(10..13).map(|record| rig.user(record)).collect();
        rig.register(&mut more).unwrap();
        // Each level brings one node, which takes as much as another, give or take what its label is written in.
        let (first, second) = (longer - short, paths(&rig) - longer);
        assert!(first >= 3 * 32 && first.abs_diff(second) < 32, "{first} {second}");
    }

    #[test]
    fn every_step_of_a_recovery_is_measured_and_so_is_its_curve_arithmetic() {
        let mut rig = Rig::new().unwrap();
        let mut curve = Curve::new(7).unwrap();
        let mut users: Vec<User> = (0..3).map(|number| rig.user(spread(number))).collect();
        rig.register(&mut users).unwrap();
        let mut took = Took::default();
        for _ in 0..5 {
            rig.recover(&mut users, &mut took).unwrap();
            took.time("curve of handshake", 3, || (0..3).for_each(|_| curve.handshake()));
            took.time("curve of recover2", 3, || (0..3).for_each(|_| curve.recover2()));
        }
        let us = took.summary(1_000, 3).us;
        let steps = us.handshake + us.recover1 + us.recover2 + us.recover3 + us.confirm;
        assert!((us.recovery - steps - 2.0 * (us.capture + us.commit)).abs() < 1e-6, "{us:?}");
        let each = [us.handshake, us.recover1, us.recover2, us.recover3, us.capture, us.commit];
        assert!(each.iter().all(|us| *us > 0.0), "{us:?}");
        // How large they are is for a machine that does nothing else.
        assert!(us.shares().iter().all(|share| share.is_some_and(|share| share > 0.0)), "{us:?}");
    }
}
