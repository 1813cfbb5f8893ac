//! What was measured, as one page that needs nothing besides itself.

use super::plot::Plot;
use super::report::{Core, Failover, Growth, Load, Moving, Report, Service, Way};
use super::table::{Table, escaped, number};
use super::tables;
use crate::Error;
use std::fmt::Write as _;

const STYLE: &str = "body { font: 15px/1.5 system-ui, sans-serif; max-width: 1300px; margin: 2em auto; padding: 0 1em; \
    color: #222; background: #fff } table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums } \
    th, td { padding: .15em .7em; text-align: right; border-bottom: 1px solid #ddd } .words { text-align: left } \
    svg { max-width: 100%; height: auto; margin: .5em .5em .5em 0 } .note { color: #666 }";

/// The page of a run; with an earlier one, also the ratios between them and why they may not compare.
///
/// # Errors
/// A plot cannot be drawn.
pub(super) fn page(report: &Report, against: Option<(&Table, Option<String>)>) -> Result<String, Error> {
    let mut page = Page(String::new());
    page.paragraph("note", &report.machine.to_string());
    let prices = report.dollars_per_million_calls;
    page.paragraph(
        "note",
        &format!(
            "The run took {:.0} s. A million calls are taken to cost ${} for PUTs, ${} for listings and ${} for GETs. How to \
             read this: docs/performance.md.",
            report.took_s, prices.put, prices.list, prices.get
        ),
    );
    for service in &report.service {
        page.service(service)?;
    }
    for failover in &report.failover {
        page.failover(failover)?;
    }
    report.moving.iter().for_each(|moving| page.moving(moving));
    if !report.core.is_empty() {
        page.core(report)?;
    }
    if !report.growth.is_empty() {
        page.growth(&report.growth)?;
    }
    let storage = tables::storage(report);
    if !storage.is_empty() {
        page.heading("storage");
        let mut table = Table::new(["figure", "number"]).with_words(1);
        storage.into_iter().for_each(|(name, of)| table.row(vec![name, number(Some(of), 2)]));
        page.table("", &table);
    }
    if let Some((table, differences)) = against {
        page.heading("against the earlier run");
        differences.iter().for_each(|told| page.paragraph("note", told));
        page.table("", table);
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Strongroom, measured</title>\n\
         <style>{STYLE}</style>\n<h1>Strongroom, measured</h1>\n{}</html>\n",
        page.0
    ))
}

struct Page(String);

impl Page {
    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.0, "<h2>{}</h2>", escaped(text));
    }

    fn paragraph(&mut self, class: &str, text: &str) {
        let _ = writeln!(self.0, "<p class=\"{class}\">{}</p>", escaped(text));
    }

    fn table(&mut self, title: &str, table: &Table) {
        if table.is_empty() {
            return;
        }
        if !title.is_empty() {
            let _ = writeln!(self.0, "<h3>{}</h3>", escaped(title));
        }
        self.0.push_str(&table.html());
    }

    fn plot(&mut self, plot: &Plot) -> Result<(), Error> {
        self.0.extend(plot.svg()?);
        Ok(())
    }

    fn service(&mut self, service: &Service) -> Result<(), Error> {
        self.heading(&tables::title(service));
        self.paragraph("", &tables::idle(service));
        self.table("", &tables::loads(service));
        let line = |name: &str, of: &dyn Fn(&Load) -> Option<f64>| {
            let points = service.loads.iter().filter_map(|load| Some((load.clients as f64, of(load)?)));
            (name.to_owned(), points.collect())
        };
        let over_clients = |title: &str, y, lines| Plot { title: title.into(), x: "clients", y, lines };
        self.plot(&over_clients(
            "Whole recoveries each second",
            "a second",
            vec![line("recoveries", &|load| Some(load.per_second))],
        ))?;
        self.plot(&over_clients(
            "How long a recovery takes",
            "ms",
            vec![
                line("p50", &|load| load.p50_ms),
                line("p95", &|load| load.p95_ms),
                line("p99", &|load| load.p99_ms),
            ],
        ))?;
        self.plot(&over_clients(
            "Store calls for 1,000 recoveries",
            "calls",
            ["put", "get", "list", "delete"]
                .map(|kind| line(kind, &|load| Some(tables::of_kind(load, kind))))
                .into(),
        ))?;
        self.plot(&over_clients(
            "Processor time of one recovery",
            "ms",
            vec![line("all agents", &|load| load.agents_ms), line("all HSMs", &|load| load.hsms_ms)],
        ))?;
        self.table("store calls for 1,000 recoveries", &tables::calls(service));
        self.table("of all store calls, those without an answer", &tables::failed_calls(service));
        self.table("processor time, in cores", &tables::processor(service));
        Ok(())
    }

    fn failover(&mut self, failover: &Failover) -> Result<(), Error> {
        self.heading(&tables::failover_title(failover));
        self.paragraph("", "From the fault to the first success of a recovery that began after it.");
        self.table("", &tables::failover(failover));
        let share = |at: usize, of: usize| 100.0 * (at + 1) as f64 / of as f64;
        let line = |way: &Way| {
            let mut took = way.until_served_ms.clone();
            took.sort_unstable_by(f64::total_cmp);
            let points = took.iter().enumerate().map(|(at, ms)| (*ms, share(at, way.trials)));
            (way.way.clone(), points.collect())
        };
        self.plot(&Plot {
            title: "Trials in which a recovery had succeeded by then".into(),
            x: "ms after the fault",
            y: "% of trials",
            lines: failover.ways.iter().map(line).collect(),
        })
    }

    fn moving(&mut self, moving: &Moving) {
        self.heading(&tables::moving_title(moving));
        self.paragraph(
            "",
            &format!(
                "Half of the key space moves from one group to another and back. {} of the clients have records in it.",
                moving.clients_below
            ),
        );
        self.table("", &tables::moves(moving));
        self.table("", &tables::spans(moving));
        self.table("store calls each second", &tables::calls_of_moves(moving));
        self.table("processor time, in cores", &tables::processor_of_moves(moving));
        self.table("memory of each agent at most, in MiB", &tables::memory_of_moves(moving));
    }

    fn core(&mut self, report: &Report) -> Result<(), Error> {
        let all = &report.core;
        self.heading("core");
        self.paragraph(
            "",
            "Without any agent, link or NVRAM. For one request of a batch, the middle of several rounds.",
        );
        self.table("", &tables::core(all));
        if let Some(why) = &report.uncounted {
            self.paragraph("note", &format!("Instructions: not measured: {why}"));
        }
        self.table("in thousands of instructions", &tables::core_instructions(all));
        let over_records = |title: &str, y, of: &dyn Fn(&Core) -> Option<f64>| {
            let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
            for core in all {
                let Some(value) = of(core) else { continue };
                let (name, point) = (format!("batches of {}", core.batch), (core.records as f64, value));
                match lines.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, points)) => points.push(point),
                    None => lines.push((name, vec![point])),
                }
            }
            Plot { title: title.into(), x: "records", y, lines }
        };
        self.plot(&over_records("What the leader's core takes for a recovery", "us", &|core| {
            Some(core.us.recovery)
        }))?;
        self.plot(&over_records("The part of that which is curve arithmetic", "%", &|core| {
            core.instructions.as_ref().unwrap_or(&core.us).shares()[2].map(|share| 100.0 * share)
        }))?;
        self.plot(&over_records("What the leader's core executes for a recovery", "instructions", &|core| {
            Some(core.instructions.as_ref()?.recovery)
        }))
    }

    fn growth(&mut self, all: &[Growth]) -> Result<(), Error> {
        self.heading("growth");
        self.paragraph(
            "",
            "What it costs to find the leader of a group, simulated: no such realm was started.",
        );
        self.table("", &tables::growth(all));
        let line = |name: &str, is_of: &dyn Fn(&Growth) -> bool| {
            let of = all.iter().filter(|growth| is_of(growth));
            (name.to_owned(), of.map(|growth| (growth.groups as f64, growth.route_us)).collect())
        };
        self.plot(&Plot {
            title: "To find the leader of a record's group".into(),
            x: "groups",
            y: "us",
            lines: vec![
                line("each HSM in one group", &|growth| growth.groups_of_an_hsm == 1),
                line("each HSM in as many as it can be", &|growth| growth.groups_of_an_hsm > 1),
            ],
        })
    }
}
