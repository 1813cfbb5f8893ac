//! The benchmark as a process, with few clients for a short time: what it writes is whole, and its counts add up.

use std::path::Path;
use std::process::{Command, Stdio};
use strongroom_sim::bench::report::{Load, Report};

/// Runs it on a store in memory, and returns what it wrote and printed.
fn bench(folder: &Path, arguments: &[&str]) -> (Report, String) {
    let json = folder.join("bench.json");
    let mut program = Command::new(env!("CARGO_BIN_EXE_strongroom-sim"));
    program.args(["bench", "--store", "memory://", "--seconds", "1", "--json"]).arg(&json).args(arguments);
    let output = program.env_remove("RUST_LOG").stdin(Stdio::null()).output().expect("the program is built");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(json).expect("it was written");
    (serde_json::from_str(&text).expect("a report"), said)
}

fn of(load: &Load, kind: &str) -> u64 {
    load.calls.get(kind).copied().unwrap_or(0)
}

#[test]
fn a_service_is_measured_and_its_counts_add_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("bench.html");
    let arguments =
        ["--only", "service", "--clients", "1,8", "--put-ms", "5", "--html", &page.to_string_lossy()];
    let (report, said) = bench(folder.path(), &arguments);
    assert!(report.machine.cores > 0 && report.machine.memory_mib > 0 && !report.machine.system.is_empty());
    let [service] = &report.service[..] else { panic!("one store") };
    assert_eq!((service.store.as_str(), service.put_ms), ("memory://", 5));
    let [lone, eight] = &service.loads[..] else { panic!("two loads") };
    assert_eq!((lone.clients, eight.clients), (1, 8));
    for load in [lone, eight] {
        assert!(load.recoveries > 0, "{load:?}\n{said}");
        assert!((load.per_second * load.seconds - load.recoveries as f64).abs() < 1e-6);
        assert!(load.p50_ms <= load.p95_ms && load.p95_ms <= load.p99_ms, "{load:?}");
        // A recovery waits for writes one after another, each of which takes at least this long.
        assert!(load.p50_ms >= Some(5.0), "{load:?}");
        let puts = load.calls_per_1000["log put"];
        assert!((puts * load.recoveries as f64 / 1e3 - of(load, "log put") as f64).abs() < 1e-6);
        assert!(
            of(load, "log put") <= 3 * (load.recoveries + load.failed + 2 * load.clients as u64),
            "{load:?}"
        );
        assert!(load.dollars_per_million.expect("something was recovered") >= puts * 5.0 / 1e3 - 1e-9);
        for process in ["agent-1", "agent-2", "agent-3", "clients", "hsm-1", "hsm-2", "hsm-3", "store"] {
            // At most the whole machine, give or take a tick of its clock.
            let most = load.seconds * 1e3 * report.machine.cores as f64 * 1.5 + 100.0;
            assert!(load.processor_ms[process] <= most, "{process}: {load:?}");
        }
        assert!(load.agents_ms.expect("measured") > 0.0);
    }
    assert_eq!(service.idle.percent_of_a_core.len(), 7, "agents, HSMs and the store");
    assert!(said.contains("service on memory://, each PUT 5 ms longer"), "{said}");
    let page = std::fs::read_to_string(page).expect("it was written");
    assert!(page.matches("<svg").count() >= 4 && page.contains("agents/HSMs"), "{page}");
    assert!(!page.contains("src=") && !page.contains("<link"), "it needs nothing besides itself");
}

#[test]
fn storage_is_measured_and_compared_with_an_earlier_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = ["--only", "tree,replay", "--records", "1000", "--segments", "20"];
    let (report, _) = bench(folder.path(), &small);
    let (tree, replay) = (report.tree.expect("measured"), report.replay.expect("measured"));
    assert_eq!(tree.records, 1000);
    assert!(tree.load_p50_ms <= tree.load_p99_ms && tree.disk_per_leaf_byte > 1.0, "{tree:?}");
    assert!(replay.entries >= 20 && replay.seconds > 0.0, "{replay:?}");
    assert!(report.service.is_empty() && report.failover.is_empty() && report.core.is_empty());

    let earlier = folder.path().join("earlier.json");
    std::fs::rename(folder.path().join("bench.json"), &earlier).expect("it was written");
    let only_tree = ["--only", "tree", "--records", "1000", "--against", &earlier.to_string_lossy()];
    let (_, said) = bench(folder.path(), &only_tree);
    let compared = said.split("against the earlier run").nth(1).unwrap_or_else(|| panic!("{said}"));
    assert!(compared.contains("tree of 1000 records: pages read for a record"), "{said}");
    assert!(!compared.contains("replay"), "{said}");
}

#[test]
fn the_way_to_a_leader_is_measured_among_more_and_more_groups() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("bench.html");
    let (report, said) = bench(folder.path(), &["--only", "growth", "--html", &page.to_string_lossy()]);
    let of = |groups, on_an_hsm| {
        let found = report.growth.iter().find(|g| (g.groups, g.groups_of_an_hsm) == (groups, on_an_hsm));
        found.unwrap_or_else(|| panic!("{groups}, {on_an_hsm}: {said}"))
    };
    let [one, thousand, packed] = [of(1, 1), of(1000, 1), of(1000, 16)];
    assert_eq!((one.agents, thousand.agents, packed.agents), (3, 3000, 189));
    assert_eq!((one.claims, thousand.claims, packed.claims), (3, 3000, 3000));
    assert!(thousand.route_us > one.route_us && thousand.hear_us > one.hear_us, "{said}");
    for growth in [thousand, packed] {
        // At least the ids and prefixes that three members name, and not a page for each.
        let bytes = growth.bytes_per_group.expect("this system tells");
        assert!((150.0..4096.0).contains(&bytes), "{bytes} bytes for a group: {said}");
    }
    let page = std::fs::read_to_string(page).expect("it was written");
    assert!(page.contains("find the leader") && page.matches("<svg").count() == 1, "{page}");

    let earlier = folder.path().join("bench.json");
    let other = folder.path().join("other");
    std::fs::create_dir(&other).expect("a folder");
    let again = ["--only", "growth", "--against", &earlier.to_string_lossy()];
    let (_, said) = bench(&other, &again);
    let compared = said.split("against the earlier run").nth(1).unwrap_or_else(|| panic!("{said}"));
    assert!(compared.contains("growth, 1000 groups, 16 of them on an HSM: route us"), "{said}");
}

#[test]
fn a_move_there_and_back_is_measured_beside_clients_of_whom_none_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("bench.html");
    let html = page.to_string_lossy();
    let small = ["--only", "move", "--records", "300", "--clients", "6", "--html", &html];
    let (report, said) = bench(folder.path(), &small);
    let [moving] = &report.moving[..] else { panic!("one store") };
    assert_eq!((moving.records, moving.clients), (300, 6));
    let [there, back] = &moving.moves[..] else { panic!("two moves") };
    assert_eq!((there.way.as_str(), back.way.as_str()), ("there", "back"));
    assert!(there.copied >= 300 && there.sent_bytes > 300 * 808, "{there:?}");
    for moved in [there, back] {
        assert!(moved.copying_s < moved.whole_s, "{moved:?}");
        assert!(moved.unserved_ms > 0.0 && moved.p95_ratio().is_some(), "{moved:?}");
        for span in [&moved.before, &moved.during, &moved.after] {
            assert!(span.recoveries > 0 && span.failed == 0, "{span:?}\n{said}");
            assert!(span.p50_ms <= span.p95_ms && span.p95_ms <= span.p99_ms && span.p99_ms <= span.most_ms);
            assert_eq!(span.memory_mib.len(), 5, "agents: {span:?}");
            assert_eq!(span.processor_ms.len(), 12, "agents, HSMs, the store and the clients: {span:?}");
        }
        assert!(moved.during.calls["tree put"] > 0, "{moved:?}");
    }
    let page = std::fs::read_to_string(page).expect("it was written");
    for told in [said, page] {
        let title = "move of 300 records beside 6 clients, on memory://";
        assert!(told.contains(title) && told.contains("p95 during/before"), "{told}");
    }
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_starts() {
    let run = |arguments: &[&str]| {
        let program =
            Command::new(env!("CARGO_BIN_EXE_strongroom-sim")).arg("bench").args(arguments).output();
        let output = program.expect("the program is built");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run(&["--put-ms", "28", "--store", "file://"]).contains("memory:// alone"));
    assert!(run(&["--clients", "0"]).contains("at least one client"));
    assert!(run(&["--records", "0"]).contains("at least one record"));
    assert!(run(&["--against", "no/such.json"]).contains("no/such.json"));
    assert!(run(&["--seconds", "0"]).contains("0.1 to 3600"));
}
