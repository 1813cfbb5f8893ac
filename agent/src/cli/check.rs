//! `check` and `rebuild-tree`: the store, read without an agent.

use super::arguments::{CheckArguments, RebuildTree, Stored};
use super::confirm::confirm;
use super::error::CliError;
use super::founded::{self, Founded};
use super::reach::{Reach, agent, configured};
use super::show;
use super::stated::{self, Stated};
use crate::admin::Client;
use crate::check::{self, AgentWitness, Findings, NoWitness, Progress};
use crate::config::Config;
use crate::store::Store;
use crate::tree::{TreeMetrics, TreeSettings, TreeStore};
use futures::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use strongroom_proto::ids::{GroupId, Index};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// How many problems of a group are printed.
const SHOWN: usize = 50;
/// How many in JSON.
const SHOWN_JSON: usize = 10_000;

struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }
}

impl Progress for Bar {
    fn begin(&self, what: &'static str, of: Option<u64>) {
        let template =
            if of.is_some() { "{msg} {bar:30} {pos}/{len} {eta}" } else { "{spinner} {msg} {pos}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        self.0.reset();
        self.0.set_length(of.unwrap_or(0));
        self.0.set_message(what);
    }

    fn done(&self, more: u64) {
        self.0.inc(more);
    }
}

fn open(config: &Path, stored: &Stored) -> Result<Store, CliError> {
    Ok(match &stored.store {
        // A check must not create what it does not find.
        Some(url) => Store::open_existing(url, &stored.options()?)?,
        None => {
            let config = configured(config)?;
            Store::open_existing(&config.store, &config.store_options)?
        }
    })
}

async fn groups(store: &Store, stored: &Stored) -> Result<BTreeSet<GroupId>, CliError> {
    let found = check::groups(store).await?;
    match stored.group {
        Some(group) if found.contains(&group) => Ok(BTreeSet::from([group])),
        Some(_) => Err(CliError::Arguments("the store holds nothing of that group")),
        None => Ok(found),
    }
}

fn tree(store: &Store, group: GroupId) -> TreeStore {
    TreeStore::new(store.objects(), store.base(), group, TreeSettings::default(), TreeMetrics::default())
}

pub(super) async fn check(reach: &Reach, arguments: CheckArguments) -> Result<(), CliError> {
    let CheckArguments { stored, format } = arguments;
    let store = open(&reach.config, &stored)?;
    // A store other than the configured one does not say which agent to ask.
    let ask = stored.store.is_none() || reach.afar.is_some();
    let witness = if ask { Some(agent(reach).await?) } else { None };
    let (realms, mut problems) = check_realms(&store, witness.clone(), !format.json).await?;
    let mut checked = Vec::new();
    for group in groups(&store, &stored).await? {
        let (tree, bar) = (tree(&store, group), Bar::new());
        let findings = match &witness {
            Some(agent) => {
                let mut hsm = AgentWitness { agent: agent.clone(), group };
                check::check(&store, &tree, group, &mut hsm, &bar).await?
            }
            None => check::check(&store, &tree, group, &mut NoWitness, &bar).await?,
        };
        bar.0.finish_and_clear();
        problems += findings.problems.len();
        if format.json {
            checked.push(json(&findings));
        } else {
            out!("{}", text(&findings));
        }
    }
    if format.json {
        let all = json!({ "wrong": problems, "realms": realms, "groups": checked });
        out!("{all:#}\n");
    }
    if problems > 0 { Err(CliError::Found(problems)) } else { Ok(()) }
}

/// Whether custodians signed for the realm and its statement, and for the one that the HSM holds, if one is asked. Returns what is known
/// about each realm, and how many are wrong.
async fn check_realms(
    store: &Store,
    witness: Option<Client>,
    tell: bool,
) -> Result<(Vec<Value>, usize), CliError> {
    let asked = match witness {
        Some(mut agent) => agent.device().await?.realm,
        None => None,
    };
    let realms = match &asked {
        Some(realm) => vec![realm.realm],
        None => founded::realms(store).await,
    };
    let (mut known, mut wrong) = (Vec::new(), 0);
    for realm in realms {
        let founded = founded::stored(store, realm, asked.as_ref()).await;
        let stated = stated::stored(store, realm, asked.as_ref()).await;
        wrong += usize::from(matches!(founded, Founded::Wrong(_)));
        wrong += usize::from(matches!(stated, Stated::Wrong(_)));
        known.push(json!({
            "realm": realm.to_string(),
            "founding": founded.line(),
            "founding_state": founded.text(),
            "statement": stated.note(),
            "statement_state": stated.text(),
            "custodians_checked": asked.is_some(),
        }));
        if !tell {
            continue;
        }
        outln!("realm {realm}\n  founding     {}", founded.text());
        if asked.is_none() {
            outln!("  custodians   not checked: no HSM was asked whether these are the realm's");
        }
        if let Founded::Signed(statement) = &founded {
            out!("{}", show::founding_text(&statement.founding));
        }
        outln!("  statement    {}", stated.text());
    }
    Ok((known, wrong))
}

fn json(findings: &Findings) -> Value {
    let problems = findings.problems.iter().take(SHOWN_JSON).map(
        |problem| json!({ "kind": problem.kind(), "object": problem.object(), "text": problem.to_string() }),
    );
    json!({
        "group": findings.group.to_string(),
        "segments": findings.segments,
        "unnecessary_segments": findings.unnecessary,
        "first_entry": findings.entries.0.0,
        "last_entry": findings.entries.1.0,
        "authentic_entries": findings.authentic,
        "snapshot": findings.snapshot.map(|index| index.0),
        "leaves": findings.leaves,
        "pages": findings.pages,
        "replayed_entries": findings.replayed,
        "problems": problems.collect::<Vec<_>>(),
        "more_problems": findings.problems.len().saturating_sub(SHOWN_JSON),
    })
}

fn text(findings: &Findings) -> String {
    let Findings { segments, unnecessary, entries: (first, last), pages, leaves, replayed, .. } = findings;
    let mut lines = vec![format!("group {}", findings.group)];
    lines.push(match last.0 {
        0 => "  log          nothing yet".into(),
        _ => format!(
            "  log          entries {first} to {last} in {segments} segments, {unnecessary} more unnecessary"
        ),
    });
    lines.push(match findings.authentic {
        Some(count) => format!("  authentic    {count} entries, says the HSM"),
        None => "  authentic    not checked: no HSM of the group was asked; see --agent".into(),
    });
    lines.push(match findings.snapshot {
        Some(index) => format!("  stored tree  up to entry {index}: {leaves} leaves, {pages} pages"),
        None => "  stored tree  none".into(),
    });
    lines.push(format!("  roots        of {replayed} entries follow from their leaves"));
    for problem in findings.problems.iter().take(SHOWN) {
        lines.push(format!("  WRONG        {problem}"));
    }
    if let Some(more) = findings.problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("  WRONG        and {more} more; --json shows them"));
    }
    lines.push(if findings.problems.is_empty() { "  all is well\n".into() } else { String::new() });
    lines.join("\n")
}

/// How long an agent may take to accept a connection.
const ACCEPTS: Duration = Duration::from_secs(2);

/// Refuses if an agent in the configuration accepts connections. One that cannot be reached from here goes unnoticed;
/// closing the tree to all its writers then has to be enough.
async fn nobody_runs(config: &Config) -> Result<(), CliError> {
    if UnixStream::connect(&config.admin_socket).await.is_ok() {
        return Err(CliError::AgentsRun(config.admin_socket.display().to_string()));
    }
    let asked = config.peers.iter().map(|peer| async move {
        let (host, port) = (peer.0.host_str()?, peer.0.port_or_known_default()?);
        // Brackets belong to the URL, not to the address.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        timeout(ACCEPTS, TcpStream::connect((host, port))).await.ok()?.ok()?;
        Some(peer.0.to_string())
    });
    let run: Vec<String> = join_all(asked).await.into_iter().flatten().collect();
    if run.is_empty() { Ok(()) } else { Err(CliError::AgentsRun(run.join(" and "))) }
}

pub(super) async fn rebuild(config: &Path, arguments: RebuildTree) -> Result<(), CliError> {
    let RebuildTree { stored, yes } = arguments;
    let store = open(config, &stored)?;
    let groups = groups(&store, &stored).await?;
    let [group] = groups.into_iter().collect::<Vec<_>>()[..] else {
        return Err(CliError::Arguments("the store holds several groups: say which with --group"));
    };
    if stored.store.is_none() {
        nobody_runs(&configured(config)?).await?;
    } else {
        // Nothing shows whose store it is, or which agents use it.
        confirm(yes, "No agent of the group may be running, and none can be asked from here")?;
    }
    let bar = Bar::new();
    let found = check::stored_tree(&tree(&store, group), &bar).await;
    bar.0.finish_and_clear();
    let found = found?;
    if let (Some(snapshot), []) = (&found.snapshot, &found.problems[..]) {
        let (reaches, leaves) = (snapshot.entry.index, found.leaves.len());
        hintln!("group {group}: the stored tree is whole: {leaves} leaves, up to entry {reaches}.");
        confirm(yes, "There is nothing to repair, and a new tree would take its place")?;
    }
    let bar = Bar::new();
    let rebuilt = check::rebuild(&store, &tree(&store, group), group, &bar).await;
    bar.0.finish_and_clear();
    let rebuilt = rebuilt?;
    let check::Rebuilt { reaches, leaves, from_segments, from_groups, generation } = rebuilt;
    if reaches == Index::ZERO {
        outln!(
            "group {group}: an empty tree is in use as generation {generation}; the next leader reads the whole log"
        );
    } else {
        outln!(
            "group {group}: the tree is rebuilt up to entry {reaches}: {leaves} leaves, {from_segments} of them from \
             segments; it is in use as generation {generation}"
        );
    }
    if from_groups > 0 {
        outln!("{from_groups} leaves came from other groups, and were copied from what these have stored");
    }
    hintln!(
        "Next: start the agents, and see `strongroom-agent check`. The damaged tree stays until you delete it."
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Lost, Problem};

    fn findings(missing: u64) -> Findings {
        let group = GroupId([2; 16]);
        let lost = |n| Lost { group, first: Index(10 * n), prev: (n > 1).then_some([0xab; 8]) };
        let lack = |n| Problem::Missing { object: lost(n), last: Index(10 * n + 4) };
        Findings {
            group,
            segments: 7,
            unnecessary: 0,
            entries: (Index(1), Index(900)),
            authentic: None,
            snapshot: None,
            pages: 0,
            leaves: 0,
            replayed: 0,
            problems: (1..=missing).map(lack).collect(),
        }
    }

    #[test]
    fn every_wrong_object_is_shown_by_name_and_beyond_a_limit_only_their_number() {
        let of_group = "groups/02020202020202020202020202020202/log";
        let shown = text(&findings(2));
        for name in [
            format!("{of_group}/000000000000000a-*"),
            format!("{of_group}/0000000000000014-{}", "ab".repeat(8)),
        ] {
            assert_eq!(shown.matches(&name).count(), 1, "{name} in {shown}");
        }
        assert!(!shown.contains("more; --json"), "{shown}");
        let shown = text(&findings(SHOWN as u64 + 3));
        assert_eq!(shown.matches("is missing").count(), SHOWN);
        assert!(shown.contains("WRONG        and 3 more"), "{shown}");
    }

    #[test]
    fn programs_read_the_same_as_people() {
        let shown = json(&findings(SHOWN as u64 + 3));
        assert_eq!(shown["problems"].as_array().map(Vec::len), Some(SHOWN + 3));
        assert_eq!(shown["more_problems"], 0);
        assert_eq!(shown["problems"][0]["kind"], "missing");
        assert_eq!(
            shown["problems"][0]["object"],
            "groups/02020202020202020202020202020202/log/000000000000000a-*"
        );
        assert_eq!(json(&findings(SHOWN_JSON as u64 + 3))["more_problems"], 3);
    }
}
