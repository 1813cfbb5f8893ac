//! `realm statement`: what custodians say of their realm to those who check it, drafted, signed, published and shown.
//!
//! Whoever drafts is not trusted: a custodian's step compares what the text says with a console or with the founding, and what is
//! published must be what the HSM says.

use super::arguments::{DraftStatement, SignStatement, StatementCommand, StatusFormat};
use super::error::CliError;
use super::founded::{Founded, founded};
use super::keys::read_key;
use super::line::Line;
use super::reach::{Reach, agent, any_agent, configured};
use super::show;
use super::stated::{Builds, Signed, Stated, differs, stated, stored};
use super::words::compare;
use crate::admin::{AdminError, Client, custodian_key, sign_statement};
use crate::file::strip_byte_order_mark;
use crate::store::{ReplaceOutcome, Store, statement_object};
use crate::transcript::seen;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use strongroom_proto::enrolment::{Founding, FoundingStatement};
use strongroom_proto::hsm::RealmStatus;
use strongroom_replica::CreateOutcome;
use strongroom_tlog::note::MAX_LEN;
use strongroom_tlog::{Note, RealmStatement, Signature};

pub(super) async fn execute(reach: &Reach, command: StatementCommand) -> Result<(), CliError> {
    match command {
        StatementCommand::Draft(arguments) => draft(reach, &arguments).await,
        StatementCommand::Sign(arguments) => sign(&arguments),
        StatementCommand::Publish { text, signatures } => publish(reach, &text, &signatures).await,
        StatementCommand::Show { file, out, format } => {
            show(reach, file.as_deref(), out.as_deref(), format).await
        }
    }
}

async fn draft(reach: &Reach, arguments: &DraftStatement) -> Result<(), CliError> {
    let mut agent = agent(reach).await?;
    let device = agent.device().await?;
    let realm = device.realm.as_ref().ok_or(AdminError::NoRealm)?;
    check_stored_founding(&mut agent, realm).await?;
    let earlier = stated(&mut agent, realm).await;
    let (_, peers, not_asked) = agent.said().await?;
    let builds = Builds::of(&device, &peers);
    let statement = drafted(realm, &earlier, &builds, arguments)?;
    let text = statement.to_string();
    match &arguments.out {
        Some(path) => write(path, &text)?,
        None => {
            out!("{text}");
        }
    }
    hintln!("This is what custodians sign, if they are asked to. It says:");
    hint!("{}", show::statement_text(&statement, None));
    if let Stated::Signed(earlier) = &earlier {
        hint!("{}", changes(earlier.statement(), &statement));
    }
    hintln!(
        "Its builds are what hosts say of their HSMs: take out of the text what custodians have not approved."
    );
    for silent in &builds.silent {
        hintln!("HSM {silent} did not answer: if its build is missing, draft again with `--build HEX`.");
    }
    if not_asked > 0 {
        hintln!("{not_asked} more agents were not asked: name the builds of their HSMs with `--build HEX`.");
    }
    hintln!("Next, by each custodian: strongroom-agent realm statement sign --key FILE TEXTFILE");
    Ok(())
}

/// A statement whose realm is not founded would be about keys that nobody vouched for.
async fn check_stored_founding(agent: &mut Client, realm: &RealmStatus) -> Result<(), CliError> {
    match founded(agent, realm).await {
        Founded::Signed(founding) => {
            if founding.founding.checkpoint_key.is_none() {
                hintln!(
                    "The founding is from before it named the checkpoint key: custodians sign only with a console, not with `--founding`."
                );
            }
            Ok(())
        }
        Founded::Closed => Err(CliError::Arguments("a closed realm has no custodians, and so no statement")),
        Founded::Missing(_) => Err(CliError::Arguments(
            "the realm's founding is not signed yet: each custodian runs `realm sign`, then `realm found`",
        )),
        Founded::Wrong(why) => Err(CliError::Founding(why)),
        Founded::Unavailable => Err(CliError::Arguments(
            "the object store does not answer, so the founding is not known; see that it does, and run this again",
        )),
    }
}

fn drafted(
    realm: &RealmStatus,
    earlier: &Stated,
    builds: &Builds,
    arguments: &DraftStatement,
) -> Result<RealmStatement, CliError> {
    let none = CliError::Arguments("this HSM's build signs no checkpoints; install a newer one");
    let builds: BTreeSet<_> = builds.known.iter().chain(&arguments.builds).copied().collect();
    let witnesses = arguments.witnesses.clone();
    let most = if witnesses.is_empty() { 0 } else { witnesses.len() / 2 + 1 };
    let statement = RealmStatement {
        realm: realm.realm,
        version: next_version(earlier, arguments.version)?,
        noise_key: realm.public_key,
        checkpoint_key: realm.checkpoint_key.ok_or(none)?,
        policy: realm.policy.clone(),
        builds: builds.into_iter().collect(),
        witnesses,
        cosignatures: arguments.cosignatures.map_or(most, usize::from),
    };
    // What nobody could read, nobody signs; too many builds or witnesses are among that.
    RealmStatement::parse(&statement.to_string()).map_err(counts_not)
}

fn next_version(earlier: &Stated, wanted: Option<u64>) -> Result<u64, CliError> {
    let last = match (earlier, wanted) {
        (Stated::Signed(earlier), _) => earlier.statement().version,
        (Stated::Missing | Stated::Closed, _) => 0,
        (Stated::Wrong(_) | Stated::Unavailable, Some(wanted)) => return Ok(wanted),
        (Stated::Wrong(why), None) => {
            return Err(CliError::Usage(format!(
                "the statement in the store does not count, so its version is not known: {why}; say `--version N`, more than any that \
                 was published"
            )));
        }
        (Stated::Unavailable, None) => {
            return Err(CliError::Arguments(
                "the statement in the store could not be read; see that the store answers and the agent has this version, or say \
                 `--version N`",
            ));
        }
    };
    let next = last.checked_add(1).ok_or(CliError::Arguments("no higher version exists"))?;
    match wanted {
        Some(wanted) if wanted < next => Err(CliError::NotNewer { offered: wanted, known: last }),
        wanted => Ok(wanted.unwrap_or(next)),
    }
}

fn sign(arguments: &SignStatement) -> Result<(), CliError> {
    let (statement, _) = given(&arguments.text)?;
    let earlier = arguments.earlier.as_deref().map(signed).transpose()?;
    let founding = arguments.founding.as_deref().map(FoundingStatement::from_line).transpose()?;
    // Before anybody types a secret.
    if let Some(earlier) = &earlier {
        check_earlier(&statement, earlier.statement())?;
    }
    if let Some(founding) = &founding {
        check_founding(&statement, founding)?;
    }
    let key = read_key(&arguments.key)?;
    if !statement.policy.custodians.contains(&custodian_key(&key)) {
        return Err(CliError::Arguments(
            "this key is not a custodian's of the realm in that statement: its maker left you out; do not use that statement",
        ));
    }
    hintln!("With your signature apps and auditors take this for what is so of the realm you look after:");
    hint!("{}", show::statement_text(&statement, None));
    match &earlier {
        Some(earlier) => {
            hint!("{}", changes(earlier.statement(), &statement));
        }
        None if statement.version > 1 => {
            hintln!("Give the statement before it with `--earlier FILE` to see what has changed.");
        }
        None => {}
    }
    if founding.is_none() {
        hintln!(
            "Read what is asked below on the console of an HSM of that realm itself, not on its host, and type it."
        );
        compare(&statement.parts())?;
    } else {
        hintln!("Realm, public key, policy and checkpoint key are those of the founding.");
    }
    outln!("{}", sign_statement(&key, &statement).map_err(counts_not)?);
    hintln!("The line above is your signature.");
    hintln!("Next, at an agent: strongroom-agent realm statement publish TEXTFILE 'SIGNATURE' …");
    Ok(())
}

/// That the founding which a custodian holds vouches for all that a console would show.
fn check_founding(statement: &RealmStatement, founding: &FoundingStatement) -> Result<(), CliError> {
    let refuse = |why| Err(CliError::Arguments(why));
    if !founding.is_signed() {
        return refuse(
            "the founding is not signed by enough custodians: give the line that `realm found` printed",
        );
    }
    let Founding { realm, public_key, policy, checkpoint_key, .. } = &founding.founding;
    if (*realm, *public_key, policy) != (statement.realm, statement.noise_key, &statement.policy) {
        return refuse(
            "the statement is of another realm, public key or policy than the founding: whoever made it may have made that realm's \
             keys; do not sign it",
        );
    }
    match checkpoint_key {
        Some(key) if *key == statement.checkpoint_key => Ok(()),
        Some(_) => refuse(
            "the statement names another checkpoint key than the founding: whoever made it may have made that key; do not sign it",
        ),
        None => refuse(
            "the founding is from before it named the checkpoint key; leave `--founding` out, and compare with a console",
        ),
    }
}

/// That a statement may follow this one.
fn check_earlier(statement: &RealmStatement, earlier: &RealmStatement) -> Result<(), CliError> {
    let fixed = |of: &RealmStatement| (of.realm, of.noise_key, of.checkpoint_key, of.policy.clone());
    if fixed(statement) != fixed(earlier) {
        return Err(CliError::Arguments(
            "the statement says another realm, key or policy than the earlier one, and a realm's never change; do not sign it",
        ));
    }
    if statement.version <= earlier.version {
        return Err(CliError::NotNewer { offered: statement.version, known: earlier.version });
    }
    Ok(())
}

/// What a statement says otherwise than one before it, for people.
fn changes(earlier: &RealmStatement, statement: &RealmStatement) -> String {
    fn of<T: PartialEq + Display>(what: &str, before: &[T], now: &[T]) -> Vec<String> {
        let gone = before.iter().filter(|one| !now.contains(one));
        let new = now.iter().filter(|one| !before.contains(one));
        let gone = gone.map(|one| format!("  no longer  {what} {}\n", seen(one.to_string().chars())));
        gone.chain(new.map(|one| format!("  new        {what} {}\n", seen(one.to_string().chars()))))
            .collect()
    }
    let mut lines = of("build", &earlier.builds, &statement.builds);
    lines.extend(of("witness", &earlier.witnesses, &statement.witnesses));
    if earlier.cosignatures != statement.cosignatures {
        let (before, now) = (earlier.cosignatures, statement.cosignatures);
        lines.push(format!("  changed    {now} witnesses must cosign, and not {before}\n"));
    }
    match lines.is_empty() {
        true => format!("It says the same as version {}.\n", earlier.version),
        false => format!("Since version {}:\n{}", earlier.version, lines.concat()),
    }
}

async fn publish(reach: &Reach, path: &Path, lines: &[String]) -> Result<(), CliError> {
    let (statement, mut signatures) = given(path)?;
    for line in lines {
        let no_line = CliError::Arguments(
            "a signature is a line `— NAME BASE64`, whole and in quotes, as `realm statement sign` printed it",
        );
        signatures.push(Signature::parse(line.trim()).ok_or(no_line)?);
    }
    let realm = agent(reach).await?.device().await?.realm.ok_or(AdminError::NoRealm)?;
    if let Some(what) = differs(&statement, realm.realm, Some(&realm)) {
        return Err(counts_not(format!("it says another {what} than the HSM")));
    }
    let signed = put_together(&statement, signatures)?;
    let configured = configured(&reach.config)?;
    let store = Store::open_existing(&configured.store, &configured.store_options)?;
    let kept = keep(&store, &realm, signed).await?;
    out!("{}", kept.note());
    hintln!(
        "The text above is the signed statement. Give it to everyone who builds apps for this realm or checks its logs."
    );
    hint!("{}", kept.text());
    Ok(())
}

/// The statement with its signatures, each custodian's once and nobody else's, if they are enough.
fn put_together(statement: &RealmStatement, signatures: Vec<Signature>) -> Result<Signed, CliError> {
    let custodians = statement.policy.custodians.iter();
    let custodians = custodians.map(|key| RealmStatement::custodian(&statement.realm, key));
    let custodians = custodians.collect::<Result<Vec<_>, _>>().map_err(counts_not)?;
    let is_known =
        |line: &Signature| custodians.iter().any(|key| key.name() == line.name() && key.id() == line.id());
    if !signatures.iter().all(is_known) {
        return Err(counts_not("a signature is of none of the custodians that it names; leave that out"));
    }
    let mut lines: Vec<Signature> = Vec::new();
    for line in signatures {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return Err(counts_not(
            "none of its custodians has signed it; give what `realm statement sign` printed",
        ));
    }
    let note = Note::new(statement.to_string(), lines).map_err(counts_not)?;
    Signed::of(note).map_err(counts_not)
}

/// Stores a statement that counts, unless the store has one that it may not follow. Of two that are published at one moment, one
/// replaces what both have seen.
async fn keep(store: &Store, realm: &RealmStatus, new: Signed) -> Result<Signed, CliError> {
    let name = statement_object(realm.realm);
    // Before it is judged: what comes later is not replaced.
    let seen = store.see(&name).await.map_err(|_| CliError::StatementNotKept)?;
    let found = stored(store, realm.realm, Some(realm)).await;
    let new = match &found {
        // The same once more: nobody's signature is lost.
        Stated::Signed(old) if old.statement() == new.statement() => {
            let lines = [old.note().signatures(), new.note().signatures()].concat();
            put_together(new.statement(), lines)?
        }
        Stated::Signed(old) if old.statement().version >= new.statement().version => {
            let (offered, known) = (new.statement().version, old.statement().version);
            return Err(CliError::NotNewer { offered, known });
        }
        Stated::Signed(_) | Stated::Missing | Stated::Closed => new,
        Stated::Wrong(why) => {
            hintln!("What the store had at {name} did not count: {why}. It is replaced.");
            new
        }
        Stated::Unavailable => return Err(CliError::StatementNotKept),
    };
    let bytes = new.note().to_string().into();
    let is_written = match found {
        Stated::Missing => store.create(&name, bytes).await == CreateOutcome::Created,
        _ => store.replace(&name, seen.as_ref(), bytes).await == ReplaceOutcome::Replaced,
    };
    match stored(store, realm.realm, Some(realm)).await {
        Stated::Signed(kept) if is_written && *kept == new => Ok(new),
        Stated::Signed(other) if *other != new && other.statement().version >= new.statement().version => {
            let (offered, known) = (new.statement().version, other.statement().version);
            Err(CliError::NotNewer { offered, known })
        }
        _ => Err(CliError::StatementNotKept),
    }
}

async fn show(
    reach: &Reach,
    file: Option<&Path>,
    out: Option<&Path>,
    format: StatusFormat,
) -> Result<(), CliError> {
    let stated = match file {
        Some(path) => match Signed::read(&read(path)?) {
            Ok(signed) => Stated::Signed(Box::new(signed)),
            Err(error) => Stated::Wrong(error.to_string()),
        },
        None => {
            let mut agent = any_agent(reach).await?;
            let realm = agent.device().await?.realm.ok_or(AdminError::NoRealm)?;
            stated(&mut agent, &realm).await
        }
    };
    match stated {
        Stated::Signed(signed) => {
            if let Some(path) = out {
                write(path, &signed.note().to_string())?;
            }
            show::print(format, &signed.json(), || signed.text())?;
            if file.is_some() {
                hintln!("No HSM was asked: compare custodians and keys with those that you expect.");
            }
            Ok(())
        }
        Stated::Wrong(why) => {
            show::print(format, &json!({ "wrong": why }), || format!("WRONG: {why}\n"))?;
            Err(counts_not(why))
        }
        Stated::Closed => Err(CliError::Arguments("a closed realm has no custodians, and so no statement")),
        Stated::Missing => Err(CliError::Arguments(
            "the realm has no statement yet: `realm statement draft` makes one, for custodians to sign",
        )),
        Stated::Unavailable => Err(CliError::Arguments(
            "the statement could not be read: see that the object store answers, and that the agent has this version",
        )),
    }
}

/// Why a statement does not count: names of keys in that are from whoever made it.
fn counts_not(why: impl Display) -> CliError {
    CliError::Statement(seen(why.to_string().chars()))
}

/// A statement and the signatures under it, if there are any: of these nothing is verified.
fn given(path: &Path) -> Result<(RealmStatement, Vec<Signature>), CliError> {
    let bytes = read(path)?;
    let (text, signatures) = match Note::parse(&bytes) {
        Ok(note) => (note.text().to_owned(), note.signatures().to_vec()),
        Err(_) => (String::from_utf8(bytes).map_err(|_| counts_not("it is no text"))?, Vec::new()),
    };
    let statement = RealmStatement::parse(&text);
    Ok((statement.map_err(|error| counts_not(format!("{}: {error}", path.display())))?, signatures))
}

/// A statement that enough custodians signed.
fn signed(path: &Path) -> Result<Signed, CliError> {
    Signed::read(&read(path)?).map_err(|error| counts_not(format!("{}: {error}", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |why: &dyn Display| CliError::Usage(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| failed(&format!("cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_LEN).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(|error| failed(&format!("cannot be read: {error}")))?;
    if bytes.len() > MAX_LEN {
        return Err(failed(&"too long for a statement; name another file"));
    }
    strip_byte_order_mark(&mut bytes);
    Ok(bytes)
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let written = File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        CliError::Usage(format!("{}: cannot be written: {error}; choose another name", path.display()))
    })
}
