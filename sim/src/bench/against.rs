//! Two runs, compared figure by figure.

use super::report::{Core, FORMAT, Moving, Report};
use super::table::{Table, number};
use super::tables::{self, of_kind};
use crate::Error;
use std::collections::BTreeMap;
use std::path::Path;

/// An earlier run, from its file.
///
/// # Errors
/// The file cannot be read, or has another format.
pub(super) fn read(file: &Path) -> Result<Report, Error> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| named(&error))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| {
        named(&format!("{error}; this is not a file that `bench --json` of this version wrote"))
    })?;
    if report.format != FORMAT {
        let format = report.format;
        return Err(named(&format!("its format is {format}, and {FORMAT} is read; measure again")).into());
    }
    Ok(report)
}

/// The numbers of a run that are worth comparing, by name, in the order in which they are told.
fn figures(report: &Report) -> Vec<(String, f64)> {
    let mut figures = Vec::new();
    for service in &report.service {
        let on = tables::title(service);
        let idle = &service.idle.percent_of_a_core;
        figures.extend(
            idle.iter().map(|(name, percent)| (format!("{on}, idle: {name}, % of a core"), *percent)),
        );
        for load in &service.loads {
            let named = [
                ("recoveries/s", Some(load.per_second)),
                ("p50 ms", load.p50_ms),
                ("p95 ms", load.p95_ms),
                ("p99 ms", load.p99_ms),
                ("PUTs/1000", Some(of_kind(load, "put"))),
                ("GETs/1000", Some(of_kind(load, "get"))),
                ("listings/1000", Some(of_kind(load, "list"))),
                ("$/million", load.dollars_per_million),
                ("agents ms", load.agents_ms),
                ("HSMs ms", load.hsms_ms),
                ("agents/HSMs", load.agents_to_hsms),
            ];
            let name = |figure| format!("{on}, {} clients: {figure}", load.clients);
            figures.extend(named.into_iter().filter_map(|(figure, value)| Some((name(figure), value?))));
        }
    }
    for failover in &report.failover {
        let on = tables::failover_title(failover);
        for way in &failover.ways {
            let named = [("p50 ms", way.p50_ms), ("p95 ms", way.p95_ms), ("most ms", way.most_ms)];
            let name = |figure| format!("{on}, {}: {figure}", way.way);
            figures.extend(named.into_iter().filter_map(|(figure, value)| Some((name(figure), value?))));
        }
    }
    figures.extend(report.moving.iter().flat_map(of_moves));
    for core in &report.core {
        let Core { records, batch, us, instructions } = core;
        let on = format!("core, {records} records, batches of {batch}");
        let counted = instructions.as_ref();
        let named = [
            ("recovery us", Some(us.recovery)),
            ("recovery k instructions", counted.map(|counted| counted.recovery / 1e3)),
            ("curve % of recovery", counted.unwrap_or(us).shares()[2].map(|share| 100.0 * share)),
        ];
        figures.extend(
            named.into_iter().filter_map(|(figure, value)| Some((format!("{on}: {figure}"), value?))),
        );
    }
    for growth in &report.growth {
        let on = format!("growth, {} groups, {} of them on an HSM", growth.groups, growth.groups_of_an_hsm);
        let named = [
            ("route us", Some(growth.route_us)),
            ("route instructions", growth.route_instructions),
            ("hear us", Some(growth.hear_us)),
            ("bytes/group", growth.bytes_per_group),
        ];
        figures.extend(
            named.into_iter().filter_map(|(figure, value)| Some((format!("{on}: {figure}"), value?))),
        );
    }
    figures.extend(tables::storage(report));
    figures
}

/// Those of the moves on one store.
fn of_moves(moving: &Moving) -> Vec<(String, f64)> {
    let (on, mut figures) = (tables::moving_title(moving), Vec::new());
    for moved in &moving.moves {
        let named = [
            ("copying s", Some(moved.copying_s)),
            ("unserved ms", Some(moved.unserved_ms)),
            ("whole s", Some(moved.whole_s)),
            ("p95 ms during", moved.during.p95_ms),
            ("p95 during/before", moved.p95_ratio()),
            ("agents MiB during", tables::most_memory(&moved.during)),
        ];
        let name = |figure| format!("{on}, {}: {figure}", moved.way);
        figures.extend(named.into_iter().filter_map(|(figure, value)| Some((name(figure), value?))));
    }
    figures
}

/// What both have, with the ratio of this run's to the earlier one's.
pub(super) fn compare(old: &Report, new: &Report) -> Table {
    let before: BTreeMap<String, f64> = figures(old).into_iter().collect();
    let mut table = Table::new(["figure", "before", "now", "ratio"]).with_words(1);
    for (name, now) in figures(new) {
        let Some(before) = before.get(&name) else { continue };
        let ratio = (*before > 0.0).then(|| now / before);
        table.row(vec![name, number(Some(*before), 2), number(Some(now), 2), number(ratio, 2)]);
    }
    table
}

/// Why the two may not compare.
pub(super) fn differences(old: &Report, new: &Report) -> Option<String> {
    let (then, now) = (&old.machine, &new.machine);
    let same = then.processor == now.processor && then.cores == now.cores && then.build == now.build;
    (!same)
        .then(|| format!("the earlier run was elsewhere or built otherwise, so only counts compare: {then}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine::Machine;
    use crate::bench::report::{Growth, Idle, Load, Move, Phases, Service, Span};

    fn report(per_second: f64, puts: f64) -> Report {
        let load = Load {
            clients: 64,
            seconds: 2.0,
            recoveries: 2,
            failed: 0,
            per_second,
            p50_ms: None,
            p95_ms: Some(3.0),
            p99_ms: Some(0.0),
            calls: BTreeMap::new(),
            failed_calls: BTreeMap::new(),
            calls_per_1000: [("log put".into(), puts), ("tree put".into(), 1.0)].into(),
            dollars_per_million: None,
            processor_ms: BTreeMap::new(),
            agents_ms: None,
            hsms_ms: None,
            agents_to_hsms: None,
            leader: 1,
        };
        let idle = Idle { seconds: 1.0, percent_of_a_core: BTreeMap::new(), calls: BTreeMap::new() };
        let service = Service { store: "memory://".into(), put_ms: 28, idle, loads: vec![load] };
        let machine = Machine::here();
        Report { service: vec![service], ..Report::new(machine) }
    }

    #[test]
    fn a_ratio_is_that_of_this_run_to_the_earlier_one_and_what_only_one_has_is_left_out() {
        let (old, mut new) = (report(100.0, 9.0), report(250.0, 4.0));
        let told = compare(&old, &new).to_string();
        let line = |figure: &str| {
            let found = told.lines().find(|line| line.contains(figure)).unwrap_or_else(|| panic!("{told}"));
            let cells = found.split_whitespace().rev().take(3).map(str::to_owned);
            let mut cells: Vec<String> = cells.collect();
            cells.reverse();
            cells
        };
        assert_eq!(
            line("service on memory://, each PUT 28 ms longer, 64 clients: recoveries/s"),
            ["100.00", "250.00", "2.50"]
        );
        assert_eq!(line("PUTs/1000"), ["10.00", "5.00", "0.50"]);
        assert_eq!(line("p99 ms"), ["0.00", "0.00", "-"]);
        assert!(!told.contains("p50 ms") && !told.contains("$/million"), "{told}");
        assert_eq!(differences(&old, &new), None);
        new.machine.build = "another".into();
        assert!(differences(&old, &new).is_some_and(|told| told.contains("only counts compare")));
        new.service[0].put_ms = 0;
        assert!(compare(&old, &new).is_empty());
    }

    #[test]
    fn the_core_and_the_way_to_a_leader_are_compared_and_a_share_is_of_instructions_where_they_were_counted()
    {
        let (mut old, mut new) = (report(1.0, 1.0), report(1.0, 1.0));
        let phases = |recovery, curve_recover2| Phases { recovery, curve_recover2, ..Phases::default() };
        let core = |us, instructions| Core { records: 1_000, batch: 64, us, instructions };
        old.core = vec![core(phases(400.0, 300.0), Some(phases(2e6, 1e6)))];
        new.core = vec![core(phases(300.0, 240.0), Some(phases(1e6, 8e5)))];
        let growth = |route_us| Growth {
            groups: 10,
            groups_of_an_hsm: 1,
            agents: 30,
            claims: 30,
            route_us,
            route_instructions: None,
            hear_us: 5.0,
            bytes_per_group: Some(500.0),
        };
        (old.growth, new.growth) = (vec![growth(4.0)], vec![growth(1.0)]);
        let words = |table: Table| {
            let told = table.to_string();
            told.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let told = words(compare(&old, &new));
        let on = "core, 1000 records, batches of 64:";
        for line in [
            format!("{on} recovery us 400.00 300.00 0.75"),
            format!("{on} recovery k instructions 2000.00 1000.00 0.50"),
            format!("{on} curve % of recovery 50.00 80.00 1.60"),
            "growth, 10 groups, 1 of them on an HSM: route us 4.00 1.00 0.25".into(),
            "bytes/group 500.00 500.00 1.00".into(),
        ] {
            assert!(told.contains(&line), "{line}: {told}");
        }
        new.core[0].instructions = None;
        let told = words(compare(&old, &new));
        assert!(
            !told.contains("k instructions") && told.contains("curve % of recovery 50.00 80.00 1.60"),
            "{told}"
        );
    }

    #[test]
    fn moves_are_compared_by_what_they_do_to_those_who_recover_meanwhile() {
        let (mut old, mut new) = (report(1.0, 1.0), report(1.0, 1.0));
        let moving = |during_ms: f64| {
            let span = |p95_ms| Span { p95_ms: Some(p95_ms), ..Span::default() };
            let moved = Move {
                way: "there".into(),
                copied: 9,
                changed: 1,
                sent_bytes: 0,
                received_bytes: 0,
                copying_s: 4.0,
                unserved_ms: 500.0,
                whole_s: 5.0,
                before: span(10.0),
                during: span(during_ms),
                after: span(10.0),
            };
            let (store, moves) = ("file://".into(), vec![moved]);
            Moving { store, put_ms: 0, clients: 2, clients_below: 1, records: 9, filled_s: 1.0, moves }
        };
        (old.moving, new.moving) = (vec![moving(15.0)], vec![moving(30.0)]);
        let told = compare(&old, &new).to_string();
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        let on = "move of 9 records beside 2 clients, on file://, there:";
        for line in ["p95 during/before 1.50 3.00 2.00", "unserved ms 500.00 500.00 1.00"] {
            assert!(told.contains(&format!("{on} {line}")), "{line}: {told}");
        }
        assert!(!told.contains("MiB"), "the system did not tell: {told}");
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_another_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bench.json");
        let mut written = report(1.0, 2.0);
        std::fs::write(&file, serde_json::to_string(&written).unwrap()).unwrap();
        assert_eq!(read(&file).unwrap().service[0].loads[0].p50_ms, None);
        written.format += 1;
        std::fs::write(&file, serde_json::to_string(&written).unwrap()).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("measure again"));
        std::fs::write(&file, "{}").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("bench.json"));
    }
}
