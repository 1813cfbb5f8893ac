//! The surroundings of a local realm: its folder, the machine's folder for sockets, its addresses.

use crate::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use tempfile::TempDir;

/// How many HSMs a local realm has.
pub const MEMBERS: usize = 3;
/// What the realm's custodian signed; it exists from the moment that there is a realm.
pub(super) const FOUNDING: &str = "founding";
/// The longest path of a folder for sockets, in bytes: 107 for a socket (unix(7)), less room for its name.
const MAX_SOCKET_FOLDER: usize = 107 - 20;

/// Refuses a folder in which a realm was made but an HSM's memory is missing: started without it, that HSM would be a
/// new one, and useless to the group, whose members are fixed.
pub(super) fn check_whole(dir: &Path, boards: usize) -> Result<(), Error> {
    if !dir.join(FOUNDING).exists() {
        return Ok(());
    }
    let memory = |i| dir.join(format!("hsm-{}.{}", i + 1, if i < boards { "board" } else { "nvram" }));
    let missing: Vec<_> = (0..MEMBERS)
        .map(memory)
        .filter(|path| !path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "a realm was made in {}, and what its HSMs remember of it is missing: {}. Nothing else has it; name another \
         folder for a new realm, or delete this one",
        dir.display(),
        missing.join(", ")
    )
    .into())
}

/// A new folder for sockets in `temporary` or, if its path is too long for that, in `/tmp`.
pub(super) fn folder_for_sockets(temporary: &Path) -> Result<TempDir, Error> {
    let make = |folder: &Path| {
        let made = tempfile::Builder::new().prefix("strongroom-").tempdir_in(folder);
        made.map_err(|error| format!("{}: {error}; set TMPDIR to a folder that exists", folder.display()))
    };
    let made = make(temporary)?;
    if made.path().as_os_str().len() <= MAX_SOCKET_FOLDER {
        return Ok(made);
    }
    let shorter = make(Path::new("/tmp"));
    Ok(shorter.map_err(|error| {
        format!("TMPDIR is too long for sockets ({}), and {error} with a short path", temporary.display())
    })?)
}

/// Where a program on this machine reaches what listens there: "all addresses" is not an address to connect to.
pub(super) fn reachable(mut listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        let this_machine: IpAddr = match listening.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        listening.set_ip(this_machine);
    }
    listening
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_realm_whose_hsms_are_gone_is_reported_and_a_folder_without_a_realm_is_accepted() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| fs::write(folder.path().join(name), "x").expect("writable");
        assert!(check_whole(folder.path(), 0).is_ok());
        write("hsm-1.nvram");
        assert!(check_whole(folder.path(), 0).is_ok());
        write(FOUNDING);
        let missing = check_whole(folder.path(), 0).expect_err("two are missing").to_string();
        assert!(missing.contains("hsm-2.nvram") && missing.contains("hsm-3.nvram"), "{missing}");
        assert!(!missing.contains("hsm-1.nvram") && missing.contains("another folder"), "{missing}");
        write("hsm-2.nvram");
        write("hsm-3.nvram");
        assert!(check_whole(folder.path(), 0).is_ok());
        assert!(check_whole(folder.path(), 1).expect_err("a board").to_string().contains("hsm-1.board"));
    }

    #[test]
    fn sockets_go_where_their_paths_are_short_enough() {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder_for_sockets(folder.path()).expect("short enough");
        assert!(here.path().starts_with(folder.path()));
        let long = folder.path().join("x".repeat(100));
        fs::create_dir(&long).expect("writable");
        let elsewhere = folder_for_sockets(&long).expect("in /tmp");
        assert!(elsewhere.path().as_os_str().len() <= MAX_SOCKET_FOLDER);
        assert_eq!(fs::read_dir(&long).expect("there").count(), 0);
        let absent = folder_for_sockets(&folder.path().join("absent")).expect_err("no folder").to_string();
        assert!(absent.contains("TMPDIR"), "{absent}");
    }

    #[test]
    fn what_listens_on_all_addresses_is_reached_on_this_machine() {
        let reached = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:8700"), "127.0.0.1:8700");
        assert_eq!(reached("[::]:8700"), "[::1]:8700");
        assert_eq!(reached("10.1.2.3:8700"), "10.1.2.3:8700");
    }
}
