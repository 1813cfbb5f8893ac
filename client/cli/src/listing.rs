//! How lists of requests that counted, and verdicts on receipts, are told: for people, and as JSON.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use strongroom_client::{
    AttemptHistory, AttemptList, Attempts, AttemptsResponse, BrokenHistory, Cause, Counted, CountedRequest,
    RealmAttempts, RealmId, RealmStatement, Receipt, Standing, counted_requests,
};

use crate::audit::{FAILED, UNKNOWN};

/// What realms said, and what was done with it.
pub(crate) struct Listing {
    pub(crate) attempts: Attempts,
    /// Lists of before, which these are joined with.
    pub(crate) kept: Vec<(RealmId, AttemptsResponse)>,
    /// Receipts that do not count, and why.
    pub(crate) left_out: Vec<(PathBuf, String)>,
    /// How each list stands to the receipt that was given; none if the realm has no list.
    pub(crate) since: Vec<(RealmId, Option<Standing>)>,
    /// Where each receipt is, or why there is none.
    pub(crate) written: Vec<(RealmId, Result<PathBuf, String>)>,
}

impl Listing {
    /// As [`FAILED`] and [`UNKNOWN`]; without a list from any realm, what the first of them did.
    pub(crate) fn exit_code(&self) -> u8 {
        let broken = |(_, standing): &(_, Option<Standing>)| {
            matches!(standing, Some(Standing::Broken | Standing::Older))
        };
        let whole = |(_, standing): &(_, _)| matches!(standing, Some(Standing::Whole { .. }));
        let realms = &self.attempts.realms;
        let fits = |told: &RealmAttempts| {
            told.list.as_ref().map_or(true, |list| self.history(told.realm, list).is_ok())
        };
        if self.since.iter().any(broken) || !realms.iter().all(fits) {
            return FAILED;
        }
        match realms.first().map(|told| &told.list) {
            Some(Err(cause)) if realms.iter().all(|told| told.list.is_err()) => failed(cause),
            _ if !self.since.iter().all(whole) || !self.left_out.is_empty() => UNKNOWN,
            _ if self.written.iter().any(|(_, written)| written.is_err()) => UNKNOWN,
            _ => 0,
        }
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for told in &self.attempts.realms {
            match &told.list {
                Ok(list) => write_list(told.realm, list, self.history(told.realm, list), out)?,
                Err(cause) => writeln!(out, "realm {}: {cause}", told.realm)?,
            }
            for (_, standing) in self.since.iter().filter(|(realm, _)| *realm == told.realm) {
                let standing =
                    standing.map_or("not known: there is no list to compare with".into(), continuity);
                writeln!(out, "  since that receipt: {standing}")?;
            }
            for (_, written) in self.written.iter().filter(|(realm, _)| *realm == told.realm) {
                match written {
                    Ok(path) => writeln!(out, "  receipt: {}", path.display())?,
                    Err(why) => writeln!(out, "  no receipt: {why}")?,
                }
            }
        }
        for (path, why) in &self.left_out {
            writeln!(out, "left out: {}: {why}", path.display())?;
        }
        if self.attempts.agree() {
            return Ok(());
        }
        writeln!(
            out,
            "The realms name different registrations: some missed the last one, or show another record. Recover, then ask again"
        )
    }

    fn history(&self, realm: RealmId, list: &AttemptList) -> Result<AttemptHistory, BrokenHistory> {
        list.history(self.kept.iter().filter(|(of, _)| *of == realm).map(|(_, kept)| kept))
    }

    pub(crate) fn json(&self) -> Value {
        let realm = |told: &RealmAttempts| {
            let mut value = match &told.list {
                Ok(list) => list_json(list, self.history(told.realm, list)),
                Err(cause) => json!({ "cause": cause.to_string() }),
            };
            value["realm"] = told.realm.to_string().into();
            if let Some((_, standing)) = self.since.iter().find(|(realm, _)| *realm == told.realm) {
                value["since"] = standing.map_or("unknown", standing_name).into();
            }
            match self.written.iter().find(|(realm, _)| *realm == told.realm) {
                Some((_, Ok(path))) => value["receipt"] = path.display().to_string().into(),
                Some((_, Err(why))) => value["no_receipt"] = why.as_str().into(),
                None => {}
            }
            value
        };
        let realms: Vec<_> = self.attempts.realms.iter().map(realm).collect();
        let left_out =
            |(path, why): &(PathBuf, String)| json!({ "file": path.display().to_string(), "why": why });
        let left_out: Vec<_> = self.left_out.iter().map(left_out).collect();
        json!({ "result": "attempts", "agree": self.attempts.agree(), "realms": realms, "left_out": left_out })
    }
}

/// The exit code for what a realm did, as for other commands.
const fn failed(cause: &Cause) -> u8 {
    match cause {
        Cause::InvalidAuth => 6,
        Cause::Transient(_) | Cause::Unsettled | Cause::RateLimitExceeded => 5,
        _ => 7,
    }
}

fn write_list(
    realm: RealmId,
    list: &AttemptList,
    history: Result<AttemptHistory, BrokenHistory>,
    out: &mut impl Write,
) -> io::Result<()> {
    let requests = history.as_ref().map_or_else(|_| list.newest(), requests_of);
    writeln!(out, "realm {realm}: {}", summary(&requests, list.count()))?;
    writeln!(out, "  registration {}", hex::encode(list.version().0))?;
    match history {
        Ok(history) => write_history(&history, out),
        Err(broken) => {
            write_requests(&requests, list.count(), out)?;
            writeln!(out, "  NOT a continuation of what was kept: {broken}")
        }
    }
}

fn requests_of(history: &AttemptHistory) -> Vec<CountedRequest> {
    history.named().map(|(_, attempt)| attempt.into()).collect()
}

/// What is named, and where something is not.
fn write_history(history: &AttemptHistory, out: &mut impl Write) -> io::Result<()> {
    let mut next = 1;
    for (number, attempt) in history.named() {
        write_gap(number.saturating_sub(next), out)?;
        write_request(&attempt.into(), out)?;
        next = number.saturating_add(1);
    }
    match history.unnamed() {
        0 if history.count() > 0 => writeln!(
            out,
            "  these are all that counted since then: the realm's chain leads from one to the next"
        ),
        _ => Ok(()),
    }
}

fn write_gap(unnamed: u64, out: &mut impl Write) -> io::Result<()> {
    match unnamed {
        0 => Ok(()),
        1 => writeln!(out, "  1 more, which the realm no longer names, and no receipt here"),
        n => writeln!(out, "  {n} more, which the realm no longer names one by one, and no receipt here"),
    }
}

fn write_requests(requests: &[CountedRequest], count: u64, out: &mut impl Write) -> io::Result<()> {
    let earlier = count.saturating_sub(requests.len() as u64);
    if earlier > 0 {
        writeln!(out, "  {earlier} earlier, which the realm no longer names one by one")?;
    }
    requests.iter().try_for_each(|request| write_request(request, out))
}

fn write_request(request: &CountedRequest, out: &mut impl Write) -> io::Result<()> {
    let CountedRequest { index, time, what, guesses_left, .. } = *request;
    let time = time.map_or("at an unknown time".into(), |time| spelled(time, "%Y-%m-%d %H:%M:%SZ"));
    writeln!(out, "  {time:20}  {:40}  {guesses_left:3} left  (entry {index})", told(what))
}

/// What people want to know first. Times are the host's word.
fn summary(requests: &[CountedRequest], count: u64) -> String {
    if count == 0 {
        return "no request has counted since the realm keeps lists".into();
    }
    let is_try = |request: &&CountedRequest| matches!(request.what, Counted::Guess | Counted::LastGuess);
    let tries: Vec<_> = requests.iter().filter(is_try).collect();
    let right = requests.iter().filter(|request| request.what == Counted::Recovered).count();
    let number = match tries.len() {
        0 => "no tries".to_owned(),
        1 => "1 try".to_owned(),
        n => format!("{n} tries"),
    };
    let times: Vec<_> = tries.iter().filter_map(|request| request.time).collect();
    let when =
        times.iter().min().zip(times.iter().max()).map_or(String::new(), |(from, to)| span(*from, *to));
    let right = match (tries.is_empty(), right) {
        (true, _) => String::new(),
        (_, 0) => ", none right".to_owned(),
        (_, n) => format!(", {n} right"),
    };
    let among = if count > requests.len() as u64 { " among the requests that are named" } else { "" };
    // Of a registration that is staged, it is another number.
    let left = match requests.iter().rev().find(|request| request.what != Counted::Staged) {
        Some(last) if last.what == Counted::Deleted => "; then it was deleted".to_owned(),
        Some(last) if last.guesses_left == 0 => "; no guesses left".to_owned(),
        Some(last) if last.guesses_left == 1 => "; 1 guess left".to_owned(),
        Some(last) => format!("; {} guesses left", last.guesses_left),
        None => String::new(),
    };
    format!("{number}{among}{when}{right}{left}")
}

fn span(from: SystemTime, to: SystemTime) -> String {
    let first = spelled(from, "%A %Y-%m-%d %H:%M");
    let same_day = spelled(from, "%F") == spelled(to, "%F");
    let last = spelled(to, if same_day { "%H:%M" } else { "%A %Y-%m-%d %H:%M" });
    if spelled(from, "%F %H:%M") == spelled(to, "%F %H:%M") {
        format!(", {first} UTC by the realm's clock")
    } else {
        format!(", {first} to {last} UTC by the realm's clock")
    }
}

fn utc(time: SystemTime) -> Option<DateTime<Utc>> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)
}

/// Seconds since 1970, as they are, if no calendar has that time.
fn spelled(time: SystemTime, format: &str) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    utc(time).map_or(format!("{seconds} s"), |time| time.format(format).to_string())
}

const fn told(what: Counted) -> &'static str {
    match what {
        Counted::Registered => "registered",
        Counted::Guess => "a PIN was tried",
        Counted::LastGuess => "a PIN was tried, with the last guess",
        Counted::Recovered => "the PIN was right: recovered",
        Counted::Erased => "the last PIN was wrong: destroyed",
        Counted::Deleted => "deleted",
        Counted::Staged => "a new PIN was staged",
        Counted::Activated => "the staged PIN became the present one",
        _ => "something that this version does not know",
    }
}

const fn name(what: Counted) -> &'static str {
    match what {
        Counted::Registered => "registered",
        Counted::Guess => "guess",
        Counted::LastGuess => "last_guess",
        Counted::Recovered => "recovered",
        Counted::Erased => "erased",
        Counted::Deleted => "deleted",
        Counted::Staged => "staged",
        Counted::Activated => "activated",
        _ => "other",
    }
}

const fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Whole { .. } => "whole",
        Standing::TooMany { .. } => "too_many",
        Standing::Anew => "anew",
        Standing::Older => "older",
        Standing::Broken => "broken",
    }
}

fn continuity(standing: Standing) -> String {
    match standing {
        Standing::Whole { new: 0 } => "nothing has counted, and nothing is missing".into(),
        Standing::Whole { new } => format!("{new} more have counted, all named; nothing is missing"),
        Standing::TooMany { new } => {
            format!("{new} more have counted, more than are named: whether any is missing cannot be told. Keep receipts more often")
        }
        Standing::Anew => "another registration: if you did not register anew, somebody did".into(),
        Standing::Older => "the receipt is the newer of the two: the realm shows an old list, or the files are swapped".into(),
        Standing::Broken => {
            "NOT a continuation: the realm has signed two lists that do not fit together. Keep both, and ask its operator".into()
        }
    }
}

fn requests_json(requests: &[CountedRequest]) -> Vec<Value> {
    let request = |request: &CountedRequest| {
        let time = request.time.and_then(utc);
        json!({
            "time": time.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true)),
            "what": name(request.what),
            "guesses_left": request.guesses_left,
            "entry": request.index,
        })
    };
    requests.iter().map(request).collect()
}

fn list_json(list: &AttemptList, history: Result<AttemptHistory, BrokenHistory>) -> Value {
    let requests = history.as_ref().map_or_else(|_| list.newest(), requests_of);
    json!({
        "group": list.group().to_string(),
        "entry": list.as_signed().index.0,
        "version": hex::encode(list.version().0),
        "count": list.count(),
        "guesses_left": list.guesses_left(),
        "requests": requests_json(&requests),
        // Those in `requests` are all since the registration.
        "complete": history.as_ref().is_ok_and(|history| history.unnamed() == 0),
        "fits": history.is_ok(),
    })
}

/// A receipt that was checked.
pub(crate) struct Checked {
    pub(crate) file: String,
    /// What it shows; or what is wrong.
    pub(crate) verified: Result<Verified, String>,
}

/// A receipt that convinces.
pub(crate) struct Verified {
    pub(crate) statement: RealmStatement,
    pub(crate) receipt: Receipt,
    /// How it stands to the earlier one, if one was given.
    pub(crate) since: Option<Standing>,
}

impl Checked {
    pub(crate) fn exit_code(&self) -> u8 {
        match &self.verified {
            Err(_) => FAILED,
            Ok(Verified { since: Some(Standing::Broken | Standing::Older), .. }) => FAILED,
            Ok(Verified { since: Some(Standing::TooMany { .. } | Standing::Anew), .. }) => UNKNOWN,
            Ok(_) => 0,
        }
    }

    fn verdict(&self) -> String {
        match (&self.verified, self.exit_code()) {
            (Err(why), _) => format!("NOT verified: {why}"),
            (Ok(_), 0) => "verified".into(),
            (Ok(verified), FAILED) => {
                format!(
                    "NOT verified: since the earlier receipt, {}",
                    verified.since.map(continuity).unwrap_or_default()
                )
            }
            (Ok(_), _) => "verified; but not that nothing is missing since the earlier receipt".into(),
        }
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "receipt {}", self.file)?;
        if let Ok(Verified { statement, receipt, since }) = &self.verified {
            let (list, tree) = (receipt.list(), receipt.checkpoint().checkpoint());
            let requests = counted_requests(list);
            writeln!(out, "  realm {}, by version {} of its statement", statement.realm, statement.version)?;
            writeln!(out, "  registration {}", hex::encode(list.version.0))?;
            writeln!(
                out,
                "  as of entry {} of group {}, in a log of {}",
                list.index,
                list.group,
                tree.size()
            )?;
            for (witness, time) in receipt.checkpoint().witnesses() {
                let time = SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(*time));
                let time = time.map_or(String::new(), |time| spelled(time, "%Y-%m-%d %H:%M:%SZ"));
                writeln!(out, "  cosigned by {witness}, {time} by its clock")?;
            }
            writeln!(out, "  {}", summary(&requests, list.count))?;
            write_requests(&requests, list.count, out)?;
            since
                .iter()
                .try_for_each(|since| writeln!(out, "  since the earlier receipt: {}", continuity(*since)))?;
        }
        writeln!(out, "\n{}", self.verdict())
    }

    pub(crate) fn json(&self) -> Value {
        let result = match self.exit_code() {
            0 => "verified",
            FAILED => "not_verified",
            _ => "not_checked",
        };
        let mut value = json!({ "result": result, "message": self.verdict() });
        let Ok(Verified { statement, receipt, since }) = &self.verified else { return value };
        let (list, checkpoint) = (receipt.list(), receipt.checkpoint());
        value["realm"] = statement.realm.to_string().into();
        value["group"] = list.group.to_string().into();
        value["entry"] = list.index.0.into();
        value["version"] = hex::encode(list.version.0).into();
        value["count"] = list.count.into();
        value["requests"] = requests_json(&counted_requests(list)).into();
        value["tree_size"] = checkpoint.checkpoint().size().into();
        value["witnesses"] = checkpoint
            .witnesses()
            .iter()
            .map(|(name, time)| json!({ "name": name.to_string(), "time_s": time }))
            .collect();
        if let Some(since) = since {
            value["since"] = standing_name(*since).into();
        }
        value
    }
}
