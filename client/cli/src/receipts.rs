//! `attempts` and `verify-receipt`: which requests on a record counted, receipts of them to keep, and receipts checked offline.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use strongroom_client::{AttemptList, Attempts, ClaimedReceipt, Client, RealmId, Standing, standing};

use crate::heads::duration;
use crate::kept::{Found, MAX_FILE, named, read_receipt, read_statement};
use crate::listing::{Checked, Listing, Verified};
use crate::output::Failure;

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
    let Found { kept, left_out } = found;
    Ok(Listing { attempts, kept, left_out, since, written })
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
