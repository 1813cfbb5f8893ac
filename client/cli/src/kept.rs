//! Statements and receipts in files, and the receipts that were kept in a folder.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use strongroom_client::{AttemptsResponse, ClaimedReceipt, Note, RealmId, RealmStatement};

use crate::output::Failure;

/// The longest file that is read, in bytes: more than any receipt, and than any statement.
pub(crate) const MAX_FILE: u64 = 1024 * 1024;

/// Receipts that were kept.
pub(crate) struct Found {
    /// The lists of those that were verified.
    pub(crate) kept: Vec<(RealmId, AttemptsResponse)>,
    /// The files of the others, and why.
    pub(crate) left_out: Vec<(PathBuf, String)>,
}

impl Found {
    /// Adds the receipts in a folder. Of other files it knows nothing.
    pub(crate) fn look_in(&mut self, folder: &Path, statements: &[RealmStatement]) -> Result<(), Failure> {
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

pub(crate) fn named(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {why}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
    Ok(bytes)
}

/// The inner error: it is none that counts.
pub(crate) fn read_statement(path: &Path) -> Result<Result<RealmStatement, String>, Failure> {
    Ok(parse_statement(&read(path)?))
}

fn parse_statement(text: &[u8]) -> Result<RealmStatement, String> {
    let note = Note::parse(text).map_err(|error| error.to_string())?;
    RealmStatement::verify(&note).map_err(|error| error.to_string())
}

/// The inner error: it is none.
pub(crate) fn read_receipt(path: &Path) -> Result<Result<ClaimedReceipt, String>, Failure> {
    Ok(ClaimedReceipt::parse(&read(path)?).map_err(|error| error.to_string()))
}

#[cfg(test)]
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
