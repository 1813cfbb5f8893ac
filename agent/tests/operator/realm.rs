//! A realm set up as an operator does it: the command and the daemons as processes, each step with what the previous
//! one printed. The HSMs run in this process.

use crate::hosts::{Host, PATIENCE, PROGRAM, address, custodian, enrol, found, hosts, settled, whole};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Without a configuration, at any agent, with the certificate that one agent issued.
fn from_elsewhere(hosts: &[Host], folder: &Path, ids: &[String]) {
    let file = folder.join("operator.pem").display().to_string();
    let given = hosts[0].ask(&["admin-identity", "--hours", "1", "--out", &file]);
    assert!(given.err.contains("--identity") && given.out.is_empty(), "{}", given.err);
    let again = hosts[0].run(&["admin-identity", "--out", &file]).err().expect("never overwritten");
    assert!(again.contains("choose another name"), "{again}");
    let ask = |i: usize, arguments: &[&str]| {
        let agent = format!("https://{}:{}", address(), 8700 + 2 * i + 1);
        let mut command = Command::new(PROGRAM);
        command.args(["--config", "/nowhere/agent.toml", "--agent", &agent, "--identity", &file]);
        command.args(arguments).output().expect("the program is built")
    };
    for (i, id) in ids.iter().enumerate() {
        let answer = ask(i, &["hsm", "status", "--json"]);
        let answer: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
        assert_eq!(answer["hsm"], *id);
    }
    for there in [&["realm", "status"][..], &["client-config", "--address", "https://realm.example/"]] {
        let answer = ask(1, there);
        let text = String::from_utf8_lossy(&answer.stdout);
        assert!(answer.status.success() && text.contains("strongroom-founding-"), "{there:?}: {answer:?}");
    }
    let refused = ask(1, &["admin-identity", "--out", &format!("{file}.2")]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("admin socket only"), "{refused:?}");
    let daemon = ask(1, &[]);
    assert!(String::from_utf8_lossy(&daemon.stderr).contains("leave it out"), "{daemon:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("it is there");
    let open = ask(0, &["hsm", "status"]);
    assert!(String::from_utf8_lossy(&open.stderr).contains("others may read it"), "{open:?}");
}

#[test]
fn an_operator_sets_up_a_realm_by_the_hints_and_it_survives_its_leader() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hosts = hosts(folder.path(), 8700, 3);
    let (first, public) = custodian(&hosts[0], folder.path(), "first.key");
    let (second, other) = custodian(&hosts[0], folder.path(), "second.key");
    let taken =
        hosts[0].run(&["realm", "custodian", "--out", &first]).err().expect("keys are never overwritten");
    assert!(taken.contains("choose another name"), "{taken}");

    let early = hosts[0].run(&["realm", "status"]).err().expect("no realm yet");
    assert!(early.contains("realm create") && early.contains("hsm request"), "{early}");
    let founding = found(&hosts[0], &[(&first, &public), (&second, &other)]);
    let status = hosts[0].json(&["realm", "status", "--json"]);
    assert_eq!((&status["origin"], &status["threshold"]), (&"made here".into(), &2.into()));
    assert_eq!(status["founding"], founding);
    for importer in &hosts[1..] {
        enrol(&hosts[0], importer, &founding, &[&first, &second]);
        let joined = importer.json(&["realm", "status", "--json"]);
        assert_eq!((&joined["realm"], &joined["founding"]), (&status["realm"], &status["founding"]));
        assert_eq!(joined["origin"]["imported_from"], hosts[0].hsm());
        assert_eq!(joined["origin"]["signed_by"].as_array().map(Vec::len), Some(2));
    }
    let kept =
        folder.path().join(format!("store/realms/{}/founding", status["realm"].as_str().expect("an id")));
    std::fs::write(&kept, "something else").expect("writable");
    assert!(hosts[1].ask(&["realm", "status"]).out.contains("WRONG"));
    assert!(hosts[1].run(&["client-config", "--address", "https://realm.example/"]).is_err());
    std::fs::write(&kept, &founding).expect("writable");
    let clients = hosts[1].json(&["client-config", "--address", "https://realm.example/"]);
    let realm = &clients["realms"][0];
    assert_eq!((&realm["id"], &realm["founding"]), (&status["realm"], &status["founding"]));
    assert_eq!(realm["public_key"], status["public_key"]);

    let ids: Vec<String> = hosts.iter().map(Host::hsm).collect();
    assert_eq!(status["smallest_group"], 2);
    let few =
        hosts[0].run(&["group", "create", "--yes", "--members", &ids[0]]).err().expect("one is too few");
    assert!(few.contains("name more HSMs"), "{few}");
    let create = ["group", "create", "--yes", "--members", &ids.join(",")];
    // It would own no users, and keep these members from making the one that does.
    let deadline = Instant::now() + PATIENCE;
    while !hosts[1].run(&create).err().expect("not here yet").contains("the realm's first group") {
        assert!(Instant::now() < deadline, "the agents did not find each other");
    }
    let two = format!("{}, {}", ids[0], ids[1]);
    let words = ["in realm", &*ids[1], "all users of the realm", "WARNING: with two members", "add --yes"];
    hosts[0].until_refused(&["group", "create", "--members", &two], &words);
    assert!(hosts[0].json(&["group", "status", "--json"])["groups"].as_array().is_some_and(Vec::is_empty));
    let statement = hosts[0].ask(&create).then("group status");
    let backwards = [&*ids[2], &*ids[1], &*ids[0]].join(",");
    // There is no question either: nothing is made.
    let same = hosts[0].ask(&["group", "create", "--members", &backwards]).then("group status");
    assert_eq!(same, statement, "the same members again do not make a second group");

    let show = ["group", "status", "--json"];
    let status = hosts[0].until(&show, |status| settled(status).is_some());
    let (members, leader) = settled(&status).expect("just seen");
    assert_eq!(members.len(), 3);
    let at = ids.iter().position(|id| id == leader).expect("a member");
    let another = (at + 1) % 3;
    hosts[at].kill_daemon();
    let status = hosts[another].until(&show, |status| {
        let leads = |m: &Value| m["hsm"] != leader && m["role"] == "leader" && m["committed"].is_u64();
        status["groups"][0]["members"].as_array().is_some_and(|members| members.iter().any(leads))
    });
    assert_eq!(status["unreachable_peers"].as_array().map(Vec::len), Some(1));
    hosts[at].start_daemon();
    let joined = hosts[at].until(&show, |status| settled(status).is_some());
    assert_eq!(joined["unreachable_peers"].as_array().map(Vec::len), Some(0));
    from_elsewhere(&hosts, folder.path(), &ids);
    let text = hosts[at].ask(&["group", "status"]).out;
    assert!(ids.iter().all(|id| text.contains(id)) && text.contains("led by"), "{text}");
}

#[test]
fn commands_say_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hosts = hosts(folder.path(), 8800, 1);
    let host = &mut hosts[0];
    let said = host.ask(&["group", "status"]).out;
    assert!(said.contains("realm create"), "{said}");
    let pasted = host.run(&["hsm", "offer", "what"]).err().expect("not a request");
    assert!(pasted.contains("`hsm request` printed"), "{pasted}");
    host.kill_daemon();
    let gone = host.run(&["hsm", "status"]).err().expect("no agent");
    assert!(gone.contains("cannot reach the agent"), "{gone}");
}

/// The files of a store whose path contains this.
fn objects(folder: &Path, of: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.join("store")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().contains(of) {
                found.push(path);
            }
        }
    }
    found
}

const STATUS: [&str; 2] = ["group", "status"];

#[test]
fn group_status_fails_with_the_cause_while_a_group_does_not_serve() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (mut hosts, ids) = whole(folder, 8900);
    let status = hosts[0].until(&["group", "status", "--json"], |status| settled(status).is_some());
    let (members, leader) = settled(&status).expect("just seen");
    for member in members {
        assert_eq!(member["committed"].is_null(), member["hsm"] != leader, "{member}");
    }

    let check = hosts[0].run(&["upgrade-check"]).unwrap_or_else(|said| panic!("{said}"));
    for wanted in ["2 other members of 3 work", "3 agents run", "reads the log up to", "the stored tree"] {
        assert!(check.out.contains(wanted), "{wanted}: {}", check.out);
    }

    // An HSM was down when its agent started: the others are told, and the group goes on.
    hosts[2].kill_daemon();
    hosts[2].hsm = None;
    hosts[2].spawn_daemon();
    hosts[2].until_refused(&STATUS, &["the HSM does not answer its agent"]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = hosts[0].run(&STATUS).map(|printed| printed.out).unwrap_or_default();
        let line = said.lines().find(|line| line.trim_start().starts_with(&ids[2])).unwrap_or_default();
        if line.contains("its HSM does not answer it") {
            break;
        }
        assert!(Instant::now() < deadline, "not in time: {said}");
    }
    hosts[0].until_refused(&["upgrade-check"], &["1 other members of 3 work, and 2 must"]);
    // With one more down, it does not.
    hosts[1].kill_daemon();
    let error = hosts[0].until_refused(&STATUS, &["1 of 3 members work, and 2 are needed", &ids[1], &ids[2]]);
    assert!(error.starts_with("error: group ") && error.trim_end().lines().count() == 1, "{error}");

    hosts[2].start_hsm();
    hosts[1].start_daemon();
    let status = hosts[0].until(&["group", "status", "--json"], |status| settled(status).is_some());

    // The store is gone.
    let (_, leader) = settled(&status).expect("just seen");
    let at = ids.iter().position(|id| id == leader).expect("a member");
    std::fs::rename(folder.join("store"), folder.join("elsewhere")).expect("on one disk");
    hosts[at].kill_daemon();
    hosts[(at + 1) % 3]
        .until_refused(&STATUS, &["does not serve: the object store", "unmounted, moved or replaced"]);
    std::fs::rename(folder.join("elsewhere"), folder.join("store")).expect("on one disk");
    hosts[(at + 1) % 3].until(&["group", "status", "--json"], |status| status["groups"][0]["serves"] == true);
}

#[test]
fn a_damaged_tree_is_named_and_rebuilt_only_where_no_agent_uses_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (mut hosts, _) = whole(folder, 9000);
    let show = ["group", "status", "--json"];
    let stored = |status: &Value| {
        let members = status["groups"][0]["members"].as_array()?;
        members.iter().find(|member| member["serving"] == true)?["snapshot"]
            .as_u64()
            .filter(|index| *index > 0)
    };
    hosts[0].until(&show, |status| stored(status).is_some());
    let well = hosts[0].ask(&["check"]).out;
    assert!(well.contains("all is well"), "{well}");
    let typo = folder.join("typo");
    let error = hosts[0].run(&["check", "--store", &format!("file://{}", typo.display())]).err();
    assert!(error.is_some_and(|error| error.contains("check the spelling")) && !typo.exists());

    hosts.iter_mut().for_each(Host::kill_daemon);
    objects(folder, "/compacted/").iter().for_each(|file| std::fs::remove_file(file).expect("removable"));
    hosts.iter_mut().for_each(Host::start_daemon);
    let error = hosts[0].until_refused(&STATUS, &["does not serve: the stored tree is damaged"]);
    assert!(error.contains("strongroom-agent check") && error.trim_end().lines().count() == 1, "{error}");
    let text = hosts[0].run(&["rebuild-tree"]).err().expect("agents run");
    assert!(text.contains("an agent runs at"), "{text}");
    hosts[0].kill_daemon();
    let text = hosts[0].run(&["rebuild-tree"]).err().expect("others run");
    assert!(text.contains(&format!("an agent runs at https://{}:9003/", address())), "{text}");
    hosts[1..].iter_mut().for_each(Host::kill_daemon);
    let made = hosts[0].ask(&["rebuild-tree"]).out;
    assert!(made.contains("in use as generation 1"), "{made}");
    hosts.iter_mut().for_each(Host::start_daemon);
    hosts[0].until(&show, |status| stored(status).is_some() && settled(status).is_some());

    // A whole tree is not replaced without asking.
    hosts.iter_mut().for_each(Host::kill_daemon);
    let text = hosts[0].run(&["rebuild-tree"]).err().expect("there is nobody to ask");
    assert!(text.contains("the stored tree is whole") && text.contains("add --yes"), "{text}");
    let made = hosts[0].ask(&["rebuild-tree", "--yes"]).out;
    assert!(made.contains("in use as generation 2"), "{made}");

    // A segment that is gone is named where an operator looks.
    let last = objects(folder, "/log/").into_iter().max().expect("a log");
    std::fs::remove_file(&last).expect("removable");
    hosts.iter_mut().for_each(Host::start_daemon);
    let name = last.file_name().expect("a name").to_string_lossy().into_owned();
    hosts[0].until_refused(&STATUS, &["does not serve", &name]);
}

/// The command is killed again and again, each time a little later, until it comes to its end.
fn until_it_ends(host: &Host, arguments: &[&str]) -> String {
    let mut after_ms = 50;
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "it never ends: {arguments:?}");
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(&host.config).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is built");
        let since = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().expect("it was started") {
                break Some(status);
            }
            if since.elapsed() > Duration::from_millis(after_ms) {
                child.kill().expect("it runs");
                break None;
            }
            std::thread::yield_now();
        };
        let output = child.wait_with_output().expect("it ran");
        if ended.is_some_and(|status| status.success()) {
            return String::from_utf8(output.stderr).expect("text");
        }
        after_ms += 250;
    }
}

#[test]
fn an_hsm_that_is_lost_is_replaced_by_another_whenever_the_command_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hosts = hosts(folder.path(), 8760, 4);
    let (first, public) = custodian(&hosts[0], folder.path(), "first.key");
    let (second, other) = custodian(&hosts[0], folder.path(), "second.key");
    let founding = found(&hosts[0], &[(&first, &public), (&second, &other)]);
    for importer in &hosts[1..] {
        enrol(&hosts[0], importer, &founding, &[&first, &second]);
    }
    let ids: Vec<String> = hosts.iter().map(Host::hsm).collect();
    let members = ids[..3].join(",");
    let create = ["group", "create", "--yes", "--members", &members];
    let deadline = Instant::now() + PATIENCE;
    while hosts[0].run(&create).is_err() {
        assert!(Instant::now() < deadline, "the group is not made");
    }
    let status = ["group", "status", "--json"];
    let made = hosts[0].until(&status, |status| settled(status).is_some());
    let old = made["groups"][0]["group"].as_str().expect("an id").to_owned();
    assert_eq!(made["groups"][0]["prefixes"], serde_json::json!([""]));
    let split = hosts[1].ask(&["partition", "split", "all", "--group", &old]);
    assert_eq!(split.out, "0, 1\n");
    let too_early = hosts[0].run(&["group", "retire", "--yes", &old]).err().expect("it owns all users");
    assert!(too_early.contains("owns"), "{too_early}");

    hosts[2].kill_daemon();
    hosts[2].hsm.take().expect("it runs").stop();
    let replace = ["hsm", "replace", &ids[2], "--with", &ids[3], "--yes"];
    let said = until_it_ends(&hosts[0], &replace);
    assert!(said.contains("has retired") || said.contains("nothing is left to do"), "{said}");
    let now = hosts[0].until(&status, |status| settled(status).is_some());
    assert_eq!(now["groups"].as_array().map(Vec::len), Some(1), "{now}");
    let group = &now["groups"][0];
    assert_ne!(group["group"], old);
    assert_eq!(group["prefixes"], serde_json::json!(["0", "1"]));
    let named = group["members"].as_array().expect("members").iter().filter_map(|m| m["hsm"].as_str());
    let mut expected = [&*ids[0], &ids[1], &ids[3]];
    expected.sort_unstable();
    let mut named: Vec<&str> = named.collect();
    named.sort_unstable();
    assert_eq!(named, expected);
    let again = hosts[1].ask(&replace);
    assert!(again.err.contains("nothing is left to do"), "{}", again.err);
    let merged =
        hosts[3].ask(&["partition", "merge", "all", "--group", group["group"].as_str().expect("an id")]);
    assert_eq!(merged.out, "all\n");
}

#[test]
fn a_realm_is_rebalanced_as_planned_whenever_the_command_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hosts, ids) = whole(folder.path(), 8740);
    let status = ["group", "status", "--json"];
    hosts[0].until(&status, |status| settled(status).is_some());
    let plan = ["realm", "rebalance", "--plan", "--json"];
    assert_eq!(hosts[0].json(&plan)["steps"], serde_json::json!([]), "one group has nobody to share with");

    let members = [&*ids[1], &*ids[2]].join(",");
    hosts[1].ask(&["group", "create", "--yes", "--members", &members]);
    let planned =
        hosts[0].until(&plan, |planned| planned["steps"].as_array().is_some_and(|steps| !steps.is_empty()));
    let steps = planned["steps"].as_array().expect("steps");
    let does: Vec<_> = steps.iter().filter_map(|step| step["do"].as_str()).collect();
    assert_eq!(does, ["split", "move"], "{planned}");
    let shares = planned["groups"].as_array().expect("groups");
    assert!(shares.iter().all(|share| share["percent_after"] == 100), "{planned}");
    // A host whose HSM is only in the first group, and one that is in both, may do it.
    let asked = hosts[2].run(&["realm", "rebalance"]).err().expect("nobody answers");
    assert!(asked.contains("--yes"), "{asked}");
    let said = until_it_ends(&hosts[0], &["realm", "rebalance", "--yes"]);
    assert!(said.contains("100 %"), "{said}");
    let even = hosts[2].json(&plan);
    assert_eq!((&even["steps"], &even["under_way"]), (&serde_json::json!([]), &0.into()), "{even}");
    let text = hosts[1].ask(&["realm", "rebalance", "--plan"]).out;
    assert!(text.contains("even enough") && text.matches("100 %").count() == 4, "{text}");
}
