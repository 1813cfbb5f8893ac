//! The commands of `docs/running.md` about groups, run as they are written there.

use crate::hosts::{Host, PATIENCE, PROGRAM, custodian, enrol, found, hosts, settled};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The blocks of commands under a heading, in order.
pub(crate) fn blocks(heading: &str) -> Vec<String> {
    let text = include_str!("../../../../docs/running.md");
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).expect("it is there");
    let blocks = section.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split("\n```").next().expect("it ends").to_owned()).collect()
}

/// Runs a block in a folder that has a folder for each host, and returns what it printed.
pub(crate) fn run(folder: &Path, block: &str) -> String {
    let programs = Path::new(PROGRAM).parent().expect("a folder");
    let path = std::env::var("PATH").expect("a path");
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", block]).current_dir(folder).stdin(Stdio::null());
    // A test may bring a program of its own.
    bash.env("PATH", format!("{}:{}:{path}", folder.join("bin").display(), programs.display()));
    bash.env_remove("RUST_LOG");
    let output = bash.output().expect("there is a shell");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{block}\n{out}{err}");
    format!("{out}{err}")
}

/// Until every group of the host serves with all its members.
fn all_well(host: &Host) {
    host.until(&["realm", "status", "--json"], |status| status["verdict"] == "well");
}

#[test]
fn a_realm_grows_shrinks_and_replaces_an_hsm_as_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut hosts = hosts(folder, 8780, 4);
    let (first, public) = custodian(&hosts[0], folder, "first.key");
    let (second, other) = custodian(&hosts[0], folder, "second.key");
    let founding = found(&hosts[0], &[(&first, &public), (&second, &other)]);
    hosts[1..].iter().for_each(|importer| enrol(&hosts[0], importer, &founding, &[&first, &second]));
    let members = hosts[..3].iter().map(Host::hsm).collect::<Vec<_>>().join(",");
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = hosts[0].run(&["group", "create", "--yes", "--members", &members]) {
        assert!(Instant::now() < deadline, "the agents did not find each other: {error}");
    }
    hosts[0].until(&["group", "status", "--json"], |status| settled(status).is_some());

    let blocks = blocks("Grow, shrink, replace, retire");
    let [grow, by_hand, shrink, replace] = &blocks[..] else { panic!("{} blocks", blocks.len()) };
    let grown = run(folder, grow);
    assert!(grown.contains("move   ") && grown.contains("100 %"), "{grown}");
    all_well(&hosts[0]);
    let moved = run(folder, by_hand);
    assert!(moved.contains("00, 01"), "{moved}");
    assert!(run(folder, shrink).contains("has retired"));
    all_well(&hosts[0]);

    let lost = hosts[2].hsm();
    hosts[2].kill_daemon();
    hosts[2].hsm.take().expect("it runs").stop();
    let silent = |member: &serde_json::Value| member["hsm"] == *lost && member["state"] == "unreachable";
    hosts[0].until(&["realm", "status", "--json"], |status| {
        status["groups"][0]["members"].as_array().is_some_and(|members| members.iter().any(silent))
    });
    let replaced = run(folder, replace);
    assert!(replaced.contains(&lost) && replaced.contains("has retired"), "{replaced}");
    let status = hosts[3].until(&["group", "status", "--json"], |status| settled(status).is_some());
    assert_eq!(status["groups"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(status["groups"][0]["prefixes"], serde_json::json!(["0", "1"]), "{status}");
}

/// Each alert has a part in the runbook, and each part an alert.
#[test]
fn every_alert_has_its_part_in_the_runbook() {
    let alerts = include_str!("../../../packaging/prometheus/alerts.yml");
    let alerts: BTreeSet<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let runbook = include_str!("../../../../docs/runbook.md");
    let parts: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts, parts);
    assert!(alerts.len() >= 15);
    for part in runbook.split("\n## ").skip(1) {
        assert!(part.contains("```sh"), "nothing to look at: {part}");
    }
}

#[test]
fn the_commands_of_the_runbook_run_as_they_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let hosts = hosts(folder, 8790, 1);
    let (key, public) = custodian(&hosts[0], folder, "first.key");
    let create = ["realm", "create", "--smallest-group", "1", "--custodian", &public];
    let founding = hosts[0].ask(&create).out;
    let _ = (key, founding);
    let own = hosts[0].hsm();
    hosts[0].ask(&["group", "create", "--yes", "--members", &own]);
    hosts[0].until(&["group", "status", "--json"], |status| settled(status).is_some());
    let runbook = include_str!("../../../../docs/runbook.md");
    let blocks: BTreeSet<&str> =
        runbook.split("\n```sh\n").skip(1).filter_map(|block| block.split("\n```").next()).collect();
    let here = hosts[0].config.parent().expect("a folder");
    for block in blocks {
        // `|| true` is for a realm that is not well. A command that does not exist must not pass for one.
        let strict = block.replace(" || true", " || [ $? -le 2 ]");
        let said = run(here, &strict);
        assert!(!said.contains("error: unrecognized"), "{block}\n{said}");
        assert!(!said.contains("Usage:"), "{block}\n{said}");
    }
}
