//! `attempts` and `verify-receipt`: which requests on a record counted, receipts of them to keep, and receipts checked offline.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use strongroom_client::{
    AttemptList, Attempts, AttemptsResponse, ClaimedReceipt, Client, Note, RealmId, RealmStatement, Standing,
    standing,
};

use crate::heads::duration;
use crate::listing::{Checked, Listing, Verified};
use crate::output::Failure;

/// The longest file that is read, in bytes: more than any receipt, and than any statement.
const MAX_FILE: u64 = 1024 * 1024;

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Write a receipt of each realm's list to this folder, to show to others and for --since of the next time; made if it is not there.
    /// Requests that only receipts of before name are listed too: keep one at least for each 15 requests, and the list is complete
    #[arg(long, value_name = "FOLDER", requires = "statement")]
    receipts: Option<PathBuf>,
    /// A realm's statement, as its custodians signed it, which receipts are verified with; repeat for more realms
    #[arg(long, value_name = "FILE")]
    statement: Vec<PathBuf>,
    /// An earlier receipt: check that no request is left out since; repeat for more realms
    #[arg(long, value_name = "FILE", requires = "statement")]
    since: Vec<PathBuf>,
    /// How long to wait for witnesses to cosign what receipts need, such as 90s, 10m or 2h; realms ask them every five minutes
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration, requires = "receipts")]
    wait: Duration,
}

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct VerifyReceipt {
    /// The receipt
    #[arg(value_name = "FILE")]
    receipt: PathBuf,
    /// The statement of the realm, as its custodians signed it. Get it from them, not with the receipt
    #[arg(long, value_name = "FILE")]
    statement: PathBuf,
    /// An earlier receipt of the same record: check that no request is left out since
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

/// Asks the realms, and does with their lists what is asked. Files are read, and earlier receipts verified, before anything is sent.
pub(crate) async fn list(client: &Client, options: &ListOptions) -> Result<Listing, Failure> {
    let statements =
        options.statement.iter().map(|path| read_statement(path)?.map_err(|why| named(path, &why)));
    let statements = statements.collect::<Result<Vec<_>, _>>()?;
    let earlier = options.since.iter().map(|path| {
        let receipt = read_receipt(path)?.map_err(|why| named(path, &why))?;
        let verified = statements.iter().find_map(|statement| {
            let list = receipt.verify(statement).ok()?.list().clone();
            Some((statement.realm, list))
        });
        // The message of each statement that it is not of would say nothing.
        verified.ok_or_else(|| named(path, &"it does not verify with any --statement: see verify-receipt"))
    });
    let earlier = earlier.collect::<Result<Vec<_>, _>>()?;
    let mut found = Found { kept: earlier.clone(), left_out: Vec::new() };
    if let Some(folder) = &options.receipts {
        fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
        found.look_in(folder, &statements)?;
    }
    let attempts = client.attempts().await;
    let since = earlier
        .iter()
        .map(|(realm, earlier)| (*realm, list_of(&attempts, *realm).map(|list| list.follows(earlier))));
    let since = since.collect();
    let written = match &options.receipts {
        None => Vec::new(),
        Some(folder) => {
            let receipts = client.receipts(&attempts, &statements, options.wait).await;
            let written = receipts.into_iter().map(|made| {
                let written = made.receipt.map_err(|error| error.to_string());
                (made.realm, written.and_then(|receipt| write(folder, made.realm, &receipt)))
            });
            written.collect()
        }
    };
    Ok(Listing { attempts, found, since, written })
}

/// Receipts that were kept.
pub(crate) struct Found {
    /// The lists of those that were verified.
    pub(crate) kept: Vec<(RealmId, AttemptsResponse)>,
    /// The files of the others, and why.
    pub(crate) left_out: Vec<(PathBuf, String)>,
}

impl Found {
    /// Adds the receipts in a folder. Of other files it knows nothing.
    fn look_in(&mut self, folder: &Path, statements: &[RealmStatement]) -> Result<(), Failure> {
        for entry in fs::read_dir(folder).map_err(|error| named(folder, &error))? {
            let path = entry.map_err(|error| named(folder, &error))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let is_of = |statement: &&RealmStatement| name.starts_with(&format!("{}-", statement.realm));
            let Some(statement) = statements.iter().find(is_of).filter(|_| name.ends_with(".tlog-proof"))
            else {
                continue;
            };
            let receipt = read_receipt(&path)?;
            match receipt.and_then(|receipt| receipt.verify(statement).map_err(|error| error.to_string())) {
                Ok(receipt) => self.kept.push((statement.realm, receipt.list().clone())),
                Err(why) => self.left_out.push((path, why)),
            }
        }
        Ok(())
    }
}

fn list_of(attempts: &Attempts, realm: RealmId) -> Option<&AttemptList> {
    attempts.realms.iter().find(|told| told.realm == realm)?.list.as_ref().ok()
}

/// Checks a receipt.
pub(crate) fn verify(options: &VerifyReceipt) -> Result<Checked, Failure> {
    let (statement, receipt) = (read_statement(&options.statement)?, read_receipt(&options.receipt)?);
    let since = options.since.as_deref().map(read_receipt).transpose()?;
    let verified = statement.and_then(|statement| {
        let receipt = receipt?.verify(&statement).map_err(|error| error.to_string())?;
        let since = since.map(|since| {
            let earlier = since?.verify(&statement).map_err(|error| error.to_string());
            let earlier = earlier.map_err(|error| format!("the earlier receipt: {error}"))?;
            Ok::<Standing, String>(standing(receipt.list(), earlier.list()))
        });
        Ok(Verified { since: since.transpose()?, statement, receipt })
    });
    Ok(Checked { file: options.receipt.display().to_string(), verified })
}

fn named(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {why}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
    Ok(bytes)
}

/// The inner error: it is none that counts.
fn read_statement(path: &Path) -> Result<Result<RealmStatement, String>, Failure> {
    Ok(parse_statement(&read(path)?))
}

fn parse_statement(text: &[u8]) -> Result<RealmStatement, String> {
    let note = Note::parse(text).map_err(|error| error.to_string())?;
    RealmStatement::verify(&note).map_err(|error| error.to_string())
}

/// The inner error: it is none.
fn read_receipt(path: &Path) -> Result<Result<ClaimedReceipt, String>, Failure> {
    Ok(ClaimedReceipt::parse(&read(path)?).map_err(|error| error.to_string()))
}

/// Writes a receipt under a name of its own, and never over another.
fn write(folder: &Path, realm: RealmId, receipt: &ClaimedReceipt) -> Result<PathBuf, String> {
    let list = receipt.list();
    let version = hex::encode(&list.version.0[..4]);
    let path = folder.join(format!("{realm}-{version}-{}.tlog-proof", list.index));
    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = created.and_then(|mut file| {
        file.write_all(receipt.to_string().as_bytes())?;
        file.sync_all()
    });
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_of(&path, receipt) => Ok(path),
        Err(error) => Err(format!("{} cannot be written: {error}", path.display())),
        Ok(()) => Ok(path),
    }
}

/// Whether the receipt that is there is of the same list.
fn is_of(path: &Path, receipt: &ClaimedReceipt) -> bool {
    let there = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let there = there().ok().and_then(|bytes| ClaimedReceipt::parse(&bytes).ok());
    there.is_some_and(|there| there.list() == receipt.list())
}

#[cfg(test)]
#[path = "../tests/made/mod.rs"]
mod made;

#[cfg(test)]
mod tests {
    use super::*;
    use made::{REALM, receipt, statement};

    #[test]
    fn receipts_in_a_folder_are_joined_if_they_verify_and_else_said_to_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(&format!("{REALM}-1.tlog-proof"), &receipt(3, 0, true));
        write(&format!("{REALM}-2.tlog-proof"), &receipt(18, 0, true));
        write(&format!("{REALM}-3.tlog-proof"), &receipt(3, 0, false));
        write(&format!("{REALM}-4.tlog-proof"), "no receipt");
        write(&format!("{REALM}-5.txt"), "something else");
        write("other-6.tlog-proof", "of a realm without a statement");
        let statement = parse_statement(statement().as_bytes()).unwrap();
        let mut found = Found { kept: Vec::new(), left_out: Vec::new() };
        assert!(found.look_in(folder.path(), &[statement]).is_ok());
        let mut counts: Vec<_> = found.kept.iter().map(|(realm, list)| (*realm, list.count)).collect();
        counts.sort_unstable_by_key(|(_, count)| *count);
        assert_eq!(counts, [(REALM, 4), (REALM, 19)]);
        let mut why: Vec<_> =
            found.left_out.iter().map(|(path, why)| (path.file_name().unwrap().to_owned(), why)).collect();
        why.sort();
        assert!(
            matches!(&why[..], [(three, few), (four, none)]
            if three.to_str().unwrap().ends_with("-3.tlog-proof") && few.contains("0 of the witnesses")
                && four.to_str().unwrap().ends_with("-4.tlog-proof") && none.contains("this is no proof")),
            "{why:?}"
        );
    }
}
