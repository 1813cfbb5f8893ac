//! What was measured, as tables.

use super::numbers::per;
use super::report::{Core, Failover, Growth, Load, Moving, Phases, Report, Service, Span};
use super::table::{Table, number};
use std::collections::{BTreeMap, BTreeSet};

/// In one sentence, what nobody costs.
pub(super) fn idle(service: &Service) -> String {
    let idle = &service.idle;
    let busy = or(named(&idle.percent_of_a_core, |percent| format!("{percent:.2} %")), "not measured");
    let calls = or(named(&idle.calls, u64::to_string), "none");
    format!("idle for {:.0} s, of one core: {busy}; store calls: {calls}", idle.seconds)
}

/// On which store.
pub(super) fn title(service: &Service) -> String {
    match service.put_ms {
        0 => format!("service on {}", service.store),
        ms => format!("service on {}, each PUT {ms} ms longer", service.store),
    }
}

/// On which store.
pub(super) fn failover_title(failover: &Failover) -> String {
    match failover.put_ms {
        0 => format!("failover on {}", failover.store),
        ms => format!("failover on {}, each PUT {ms} ms longer", failover.store),
    }
}

/// How long users wait when the leader goes.
pub(super) fn failover(failover: &Failover) -> Table {
    let heads =
        ["what happened", "trials", "p50 ms", "p95 ms", "most ms", "slowest client ms", "clients", "failed"];
    let mut table = Table::new(heads).with_words(1);
    for way in &failover.ways {
        let mut row = vec![way.way.clone(), way.trials.to_string()];
        row.extend([way.p50_ms, way.p95_ms, way.most_ms, way.slowest_client_ms].map(|ms| number(ms, 0)));
        row.extend([way.clients.to_string(), way.failed.to_string()]);
        table.row(row);
    }
    table
}

/// On which store, and how much moves.
pub(super) fn moving_title(moving: &Moving) -> String {
    let Moving { store, put_ms, clients, records, .. } = moving;
    let longer = if *put_ms > 0 { format!(", each PUT {put_ms} ms longer") } else { String::new() };
    format!("move of {records} records beside {clients} clients, on {store}{longer}")
}

/// What a move takes.
pub(super) fn moves(moving: &Moving) -> Table {
    let heads = ["move", "copied", "changed", "MiB to store", "MiB from store", "copying s", "unserved ms"];
    let mut table = Table::new(heads.into_iter().chain(["whole s", "p95 during/before"])).with_words(1);
    for moved in &moving.moves {
        let mib = |bytes: u64| number(Some(bytes as f64 / f64::from(1 << 20)), 1);
        let mut row = vec![moved.way.clone(), moved.copied.to_string(), moved.changed.to_string()];
        row.extend([moved.sent_bytes, moved.received_bytes].map(mib));
        row.extend([number(Some(moved.copying_s), 1), number(Some(moved.unserved_ms), 0)]);
        row.extend([number(Some(moved.whole_s), 1), number(moved.p95_ratio(), 2)]);
        table.row(row);
    }
    table
}

/// What clients got before, during and after each move.
pub(super) fn spans(moving: &Moving) -> Table {
    let heads = ["move", "when", "recoveries/s", "p50 ms", "p95 ms", "p99 ms", "most ms", "failed"];
    let mut table =
        Table::new(heads.into_iter().chain(["sent again", "elections", "agents MiB"])).with_words(2);
    each_span(moving, |names, span| {
        let mut row = names;
        row.push(number(Some(span.per_second), 1));
        row.extend([span.p50_ms, span.p95_ms, span.p99_ms, span.most_ms].map(|ms| number(ms, 1)));
        row.extend([span.failed, span.sent_again, span.elections].map(|count| count.to_string()));
        row.push(number(most_memory(span), 0));
        table.row(row);
    });
    table
}

/// What the agent with the most memory had.
pub(super) fn most_memory(span: &Span) -> Option<f64> {
    span.memory_mib.values().copied().max_by(f64::total_cmp)
}

/// Calls to the store before, during and after each move, each second.
pub(super) fn calls_of_moves(moving: &Moving) -> Table {
    by_name(moving, |span| &span.calls, |span, calls| number(per(*calls as f64, span.seconds), 1))
}

/// How many cores each process kept busy meanwhile.
pub(super) fn processor_of_moves(moving: &Moving) -> Table {
    by_name(moving, |span| &span.processor_ms, |span, ms| number(per(ms / 1e3, span.seconds), 2))
}

/// How much memory each agent had at most.
pub(super) fn memory_of_moves(moving: &Moving) -> Table {
    by_name(moving, |span| &span.memory_mib, |_, mib| number(Some(*mib), 0))
}

fn each_span<'a>(moving: &'a Moving, mut see: impl FnMut(Vec<String>, &'a Span)) {
    for moved in &moving.moves {
        for (when, span) in [("before", &moved.before), ("during", &moved.during), ("after", &moved.after)] {
            see(vec![moved.way.clone(), when.to_owned()], span);
        }
    }
}

/// One row for each time, with a column for everything that any of them has.
fn by_name<T>(
    moving: &Moving,
    of: impl Fn(&Span) -> &BTreeMap<String, T>,
    show: impl Fn(&Span, &T) -> String,
) -> Table {
    let mut names: BTreeSet<&String> = BTreeSet::new();
    each_span(moving, |_, span| names.extend(of(span).keys()));
    let heads = ["move", "when"].into_iter().chain(names.iter().map(|name| name.as_str()));
    let mut table = Table::new(heads).with_words(2);
    each_span(moving, |row, span| {
        let cell = |name: &&String| of(span).get(*name).map_or_else(|| "-".into(), |cell| show(span, cell));
        table.row(row.into_iter().chain(names.iter().map(cell)).collect());
    });
    table
}

/// How long the HSM core takes, in microseconds.
pub(super) fn core(all: &[Core]) -> Table {
    phases(all.iter().map(|core| (core, &core.us)), "us", 1.0)
}

/// How many thousands of instructions it takes, where they were counted.
pub(super) fn core_instructions(all: &[Core]) -> Table {
    let counted = all.iter().filter_map(|core| Some((core, core.instructions.as_ref()?)));
    phases(counted, "k", 1e-3)
}

fn phases<'a>(all: impl Iterator<Item = (&'a Core, &'a Phases)>, unit: &str, scale: f64) -> Table {
    let steps = ["handshake", "Recover1", "Recover2", "Recover3", "confirm", "capture", "commit", "recovery"];
    let heads = ["records", "batch"].map(str::to_owned).into_iter();
    let heads = heads.chain(steps.map(|step| format!("{step} {unit}")));
    let shares = ["of handshake", "of Recover2", "of recovery"].map(|of| format!("curve % {of}"));
    let mut table = Table::new(heads.chain(shares));
    for (core, of) in all {
        let steps = [of.handshake, of.recover1, of.recover2, of.recover3, of.confirm, of.capture, of.commit];
        let steps = steps.into_iter().chain([of.recovery]).map(|step| number(Some(step * scale), 1));
        let shares = of.shares().map(|share| number(share.map(|share| 100.0 * share), 1));
        let row = [core.records.to_string(), core.batch.to_string()].into_iter();
        table.row(row.chain(steps).chain(shares).collect());
    }
    table
}

/// What it costs to find a group's leader.
pub(super) fn growth(all: &[Growth]) -> Table {
    let heads = ["groups", "groups of an HSM", "agents", "claims", "route us", "route instructions"];
    let mut table = Table::new(heads.into_iter().chain(["hear us", "bytes/group"]));
    for growth in all {
        let Growth { groups, groups_of_an_hsm, agents, claims, .. } = growth;
        let counts = [groups, groups_of_an_hsm, agents, claims].map(usize::to_string).into_iter();
        let costs = [
            number(Some(growth.route_us), 2),
            number(growth.route_instructions, 0),
            number(Some(growth.hear_us), 1),
            number(growth.bytes_per_group, 0),
        ];
        table.row(counts.chain(costs).collect());
    }
    table
}

/// What the stored tree and a replay cost: names and numbers.
pub(super) fn storage(report: &Report) -> Vec<(String, f64)> {
    let mut told = Vec::new();
    if let Some(tree) = &report.tree {
        let records = tree.records;
        let all = [
            ("a snapshot of 4,096 records, ms", tree.snapshot_ms),
            ("a snapshot of 4,096 records, KiB", tree.snapshot_kib),
            ("a load of 64 records, p50 ms", tree.load_p50_ms),
            ("a load of 64 records, p99 ms", tree.load_p99_ms),
            ("pages read for a record", tree.pages_per_record),
            ("leaves read for a record", tree.leaves_per_record),
            ("bytes on disk for a byte of a leaf", tree.disk_per_leaf_byte),
        ];
        told.extend(all.map(|(name, number)| (format!("tree of {records} records: {name}"), number)));
    }
    if let Some(replay) = &report.replay {
        told.push((
            format!("replay: ms for each of about {} entries", round(replay.entries)),
            replay.seconds * 1e3 / replay.entries.max(1) as f64,
        ));
        told.push(("replay: s from winning to serving".into(), replay.seconds));
    }
    told
}

/// Two runs write logs that are not quite equally long.
const fn round(entries: u64) -> u64 {
    (entries + 50) / 100 * 100
}

/// What clients get, and what that costs.
pub(super) fn loads(service: &Service) -> Table {
    let mut heads = vec![
        "clients",
        "recoveries/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "failed",
        "PUTs/1000",
        "$/million",
        "agents ms",
        "HSMs ms",
        "agents/HSMs",
    ];
    if service.put_ms > 0 {
        heads.extend(["p50 in PUTs", "p95 in PUTs"]);
    }
    heads.push("leader");
    let mut table = Table::new(heads);
    service.loads.iter().for_each(|load| table.row(row(service, load)));
    table
}

fn row(service: &Service, load: &Load) -> Vec<String> {
    let mut row = vec![load.clients.to_string(), number(Some(load.per_second), 1)];
    row.extend([load.p50_ms, load.p95_ms, load.p99_ms].map(|ms| number(ms, 1)));
    row.extend([load.failed.to_string(), number(Some(of_kind(load, "put")), 1)]);
    row.push(number(load.dollars_per_million, 3));
    row.extend([load.agents_ms, load.hsms_ms, load.agents_to_hsms].map(|ms| number(ms, 2)));
    if service.put_ms > 0 {
        row.extend([load.p50_ms, load.p95_ms].map(|ms| number(ms.map(|ms| ms / service.put_ms as f64), 1)));
    }
    row.push(if load.leader > 0 { load.leader.to_string() } else { "changed".into() });
    row
}

/// Calls of a kind for 1,000 recoveries, whatever their purpose.
pub(super) fn of_kind(load: &Load, kind: &str) -> f64 {
    let of_kind = load.calls_per_1000.iter().filter(|(name, _)| name.ends_with(kind));
    of_kind.fold(0.0, |sum, (_, calls)| sum + calls)
}

/// Calls to the store for 1,000 recoveries.
pub(super) fn calls(service: &Service) -> Table {
    spread(service, |load| &load.calls_per_1000, |_, calls| number(Some(*calls), 1))
}

/// Calls to the store that had no answer, in all.
pub(super) fn failed_calls(service: &Service) -> Table {
    let mut failed = service.clone();
    failed.loads.retain(|load| !load.failed_calls.is_empty());
    spread(&failed, |load| &load.failed_calls, |_, calls| calls.to_string())
}

/// How many cores each process kept busy.
pub(super) fn processor(service: &Service) -> Table {
    spread(service, |load| &load.processor_ms, |load, ms| number(Some(ms / 1e3 / load.seconds), 2))
}

/// One row for each load, with a column for everything that any of them has.
fn spread<T>(
    service: &Service,
    of: impl Fn(&Load) -> &BTreeMap<String, T>,
    show: impl Fn(&Load, &T) -> String,
) -> Table {
    let names: BTreeSet<&String> = service.loads.iter().flat_map(|load| of(load).keys()).collect();
    let mut table = Table::new(["clients"].into_iter().chain(names.iter().map(|name| name.as_str())));
    for load in &service.loads {
        let cells =
            names.iter().map(|name| of(load).get(*name).map_or_else(|| "-".into(), |cell| show(load, cell)));
        table.row([load.clients.to_string()].into_iter().chain(cells).collect());
    }
    table
}

fn named<T>(all: &BTreeMap<String, T>, show: impl Fn(&T) -> String) -> String {
    all.iter().map(|(name, of)| format!("{name} {}", show(of))).collect::<Vec<_>>().join(", ")
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.into() } else { text }
}
