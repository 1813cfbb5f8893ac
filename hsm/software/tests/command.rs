//! The command as a process.

use std::process::Command;

#[test]
fn without_arguments_nothing_starts_and_no_file_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    for given in [&[][..], &["--nvram", "hsm.nvram"], &["--listen", "unix:hsm.sock"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-hsm"));
        command.current_dir(folder.path()).args(given);
        command.env_remove("STRONGROOM_HSM_NVRAM").env_remove("STRONGROOM_HSM_LISTEN");
        let output = command.output().expect("the program is built");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{given:?}");
        assert!(["--nvram", "--listen"].iter().all(|option| said.contains(option)), "{given:?}: {said}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "{given:?}");
    }
}

#[test]
fn a_log_filter_that_means_nothing_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for filter in ["inof", "a=b=c", "strongroom_hsm=loud"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-hsm"));
        command.current_dir(folder.path()).env("RUST_LOG", filter);
        command.args(["--nvram", "hsm.nvram", "--listen", "unix:hsm.sock"]);
        let output = command.output().expect("the program is built");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("error: RUST_LOG: "), "{filter}: {said}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "{filter}");
    }
}
