//! What this version would meet in place of the one that runs: it is given by the newer program, while the older agent runs.

use super::Finding;
use crate::admin::{AdminError, Client};
use crate::check::newest_segment;
use crate::config::Config;
use crate::overview::{Level, Overview, judge};
use crate::store::Store;
use crate::tree::{TreeMetrics, TreeSettings, TreeStore};
use semver::Version;
use std::collections::BTreeSet;
use strongroom_proto::ids::{GroupId, HsmId};

/// The version of this program.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// Asks the agent that runs with this configuration about the realm, and reads what this version must be able to read of what
/// is stored. Changes nothing.
pub async fn upgrade(config: &Config) -> Vec<Finding> {
    let mut client = match Client::connect(&config.admin_socket).await {
        Ok(client) => client,
        Err(error @ AdminError::NotAllowed { .. }) => {
            let next = "give the command as the agent's user";
            return vec![Finding::attention("agent", error.to_string(), next)];
        }
        Err(_) => {
            let what = "no agent runs with this configuration, so nothing is known of the realm";
            return vec![Finding::attention("agent", what, "start the version that ran, and ask again")];
        }
    };
    let (own, peers, not_asked) = match client.said().await {
        Ok(said) => said,
        Err(error) => {
            let next = "look at its log; start it again";
            return vec![Finding::bad("agent", error.to_string(), next)];
        }
    };
    let overview = Overview::of(&own, &peers, not_asked);
    let mut found = versions(&overview);
    found.extend(headroom(&overview));
    let reasons = judge(&overview, false).reasons.into_iter().filter(|reason| reason.level != Level::Well);
    found.extend(reasons.map(|reason| Finding {
        level: reason.level,
        about: "realm",
        what: reason.what,
        next: Some(reason.next),
    }));
    found.extend(stored(config, own_groups(&overview)).await);
    found
}

/// The first word that is a version.
fn version(words: &str) -> Option<Version> {
    words.split_whitespace().find_map(|word| Version::parse(word).ok())
}

fn versions(overview: &Overview) -> Vec<Finding> {
    let about = "versions";
    let Some(this) = version(OWN) else { return Vec::new() };
    let mut found = Vec::new();
    let mut agents = BTreeSet::new();
    for (at, host) in overview.hosts.iter().enumerate() {
        let name = if at == 0 { "this host" } else { host.address.as_deref().unwrap_or("a host") };
        let agent = host.version.as_deref().and_then(version);
        match &agent {
            None => {
                let what = format!("{name}: its agent does not say its version");
                found.push(Finding::attention(about, what, "see that it answers before you begin"));
            }
            Some(agent) if *agent > this => {
                let what = format!("{name}: its agent is {agent}, and this is the older {this}");
                let next = "going back: agents before their HSMs; see \"Upgrades\" in docs/running.md";
                found.push(Finding::attention(about, what, next));
            }
            Some(_) => {}
        }
        let hsm = host.hsm_version.as_deref().and_then(version);
        if let Some(hsm) = hsm.filter(|hsm| *hsm < this) {
            let what = format!("{name}: its HSM is {hsm}, older than this agent, {this}");
            let next = "start the newer HSM first, or with the agent: an older one may refuse what a newer agent sends";
            found.push(Finding::attention(about, what, next));
        }
        agents.extend(agent);
    }
    if agents.len() > 1 {
        let names: Vec<String> = agents.iter().map(Version::to_string).collect();
        let what = format!("agents of {} versions run: {}", names.len(), names.join(", "));
        let next = "go on with the hosts that still have the oldest, and use what is new only after the last";
        found.push(Finding::attention(about, what, next));
    }
    if found.is_empty() {
        let runs = agents.first().map_or_else(|| "none".into(), Version::to_string);
        let what = format!("{} agents run {runs}, this is {this}, and no HSM is older", overview.hosts.len());
        found.push(Finding::well(about, what));
    }
    found
}

fn own_groups(overview: &Overview) -> Vec<GroupId> {
    let is_member = |hsm: HsmId| {
        move |group: &&crate::overview::Group| {
            !group.retired && group.members.iter().any(|member| member.hsm == hsm)
        }
    };
    let Some(own) = overview.by else { return Vec::new() };
    overview.groups.iter().filter(is_member(own)).map(|group| group.group).collect()
}

/// Whether each group of this host goes on while it is away.
fn headroom(overview: &Overview) -> Vec<Finding> {
    let about = "while it is away";
    let mut found = Vec::new();
    let own = own_groups(overview);
    for group in overview.groups.iter().filter(|group| own.contains(&group.group)) {
        let others = group.members.iter().filter(|member| Some(member.hsm) != overview.by);
        let work = others.filter(|member| member.state.works()).count();
        let (of, needs) = (group.members.len(), group.majority());
        let what = format!("group {}: {work} other members of {of} work, and {needs} must", group.group);
        found.push(if work >= needs {
            Finding::well(about, what)
        } else if of < 3 {
            let next = "its users wait until this host is back: choose a quiet hour";
            Finding::attention(about, what, next)
        } else {
            Finding::bad(about, what, "do not stop this host: bring the other members back first")
        });
    }
    if !overview.moves.is_empty() {
        let what = format!("{} prefixes are on their way between groups", overview.moves.len());
        let next = "wait until `realm status` shows none: what is half moved waits for a host that is away";
        found.push(Finding::attention(about, what, next));
    }
    found
}

/// Whether this version reads what these groups have stored.
async fn stored(config: &Config, groups: Vec<GroupId>) -> Vec<Finding> {
    let about = "what is stored";
    let store = match Store::open_existing(&config.store, &config.store_options) {
        Ok(store) => store,
        Err(error) => return vec![Finding::bad(about, error.to_string(), "mend `store`")],
    };
    let mut found = Vec::new();
    let stay = "stay with the version that runs, and report this: this one would not serve the group";
    for group in groups {
        match newest_segment(&store, group).await {
            Ok(None) => {}
            Ok(Some((name, Ok(())))) => {
                found.push(Finding::well(about, format!("group {group}: reads the log up to {name}")));
            }
            Ok(Some((name, Err(damage)))) => {
                found.push(Finding::bad(about, format!("group {group}: segment {name} {damage}"), stay));
            }
            Err(error) => found.push(Finding::bad(about, error.to_string(), "see that the store answers")),
        }
        let (settings, metrics) = (TreeSettings::default(), TreeMetrics::default());
        let tree = TreeStore::new(store.objects(), store.base(), group, settings, metrics);
        found.push(match tree.read_snapshot().await {
            Ok(None) => Finding::well(about, format!("group {group}: it has no stored tree yet")),
            Ok(Some(snapshot)) => {
                let at = snapshot.entry.index;
                Finding::well(about, format!("group {group}: reads the stored tree of entry {at}"))
            }
            Err(error) => Finding::bad(about, format!("group {group}: the stored tree: {error}"), stay),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::{Agent, Group, Host, Member, MemberState};

    fn host(version: &str, hsm: &str) -> Host {
        Host {
            address: Some("https://b:1".into()),
            hsm: None,
            agent: Agent::Answers,
            version: Some(version.into()),
            hsm_answers: Some(true),
            hsm_version: Some(format!("strongroom-hsm {hsm} (software simulation)")),
            wear: None,
            store: None,
            unready: None,
            relays: None,
        }
    }

    fn levels(found: &[Finding]) -> Vec<Level> {
        found.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn hosts_of_other_versions_and_hsms_that_are_older_are_named() {
        let of = |hosts: &[(&str, &str)]| {
            let hosts = hosts.iter().map(|(agent, hsm)| host(agent, hsm)).collect();
            versions(&Overview { hosts, ..Overview::default() })
        };
        assert_eq!(levels(&of(&[(OWN, OWN), (OWN, OWN)])), [Level::Well]);
        assert_eq!(levels(&of(&[("0.0.1", OWN), ("0.0.1", OWN)])), [Level::Well]);
        let mixed = of(&[(OWN, OWN), ("0.0.1", OWN)]);
        assert!(mixed.iter().any(|finding| finding.what.contains("2 versions")), "{mixed:?}");
        let older = of(&[("0.0.1", "0.0.1"), ("0.0.1", OWN)]);
        assert!(older.iter().any(|finding| finding.what.contains("its HSM is 0.0.1")), "{older:?}");
        let back = of(&[("99.0.0", OWN)]);
        assert!(back.iter().any(|finding| finding.what.contains("the older")), "{back:?}");
        assert_eq!(levels(&of(&[("no version", OWN)])), [Level::Attention]);
    }

    #[test]
    fn a_host_without_which_a_group_stands_still_is_not_to_be_stopped() {
        let of = |states: &[bool]| {
            let members = states.iter().enumerate().map(|(at, works)| Member {
                hsm: HsmId([u8::try_from(at).unwrap_or(0); 16]),
                state: if *works { MemberState::Witness } else { MemberState::HsmSilent },
                captured: None,
                behind: None,
            });
            let group = Group {
                group: GroupId([7; 16]),
                members: members.collect(),
                leader: None,
                serves: true,
                prefixes: Vec::new(),
                retired: false,
                index: strongroom_proto::ids::Index::ZERO,
                committed: None,
                snapshot: strongroom_proto::ids::Index::ZERO,
                waiting: 0,
                load: None,
                tree: None,
            };
            levels(&headroom(&Overview {
                by: Some(HsmId([0; 16])),
                groups: vec![group],
                ..Overview::default()
            }))
        };
        assert_eq!(of(&[true, true, true]), [Level::Well]);
        assert_eq!(of(&[true, true, false]), [Level::Bad]);
        assert_eq!(of(&[true, false, true, true, true]), [Level::Well]);
        assert_eq!(of(&[true, false, false, true, true]), [Level::Bad]);
        assert_eq!(of(&[true]), [Level::Attention]);
        assert_eq!(of(&[]), []);
    }
}
