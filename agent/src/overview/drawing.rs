//! What is drawn on the status page. Colours and words come from elsewhere; here are the shapes.

use super::seen::{Overview, Step};
use super::space::{extent, gaps};
use crate::hub::listed;
use maud::{Markup, html};
use strongroom_proto::prefix::Prefix;

/// The width of everything, and where the parts of the drawing of all records are.
const WIDTH: f64 = 1000.0;
const LOAD_HEIGHT: f64 = 80.0;
const OWNED_AT: f64 = 86.0;
const OWNED_HEIGHT: f64 = 40.0;

/// How many colours there are for groups.
const COLOURS: usize = 8;

/// The class of a group's colour.
pub(super) fn colour(at: usize) -> String {
    format!("g{}", at % COLOURS)
}

fn number(value: f64) -> String {
    format!("{value:.2}")
}

/// All records from the first to the last: who owns them, and above that, where requests go.
pub(super) fn space(overview: &Overview) -> Markup {
    let owned: Vec<(usize, Prefix)> = overview
        .groups
        .iter()
        .enumerate()
        .filter(|(_, group)| !group.retired)
        .flat_map(|(at, group)| group.prefixes.iter().map(move |prefix| (at, *prefix)))
        .collect();
    let gaps = gaps(owned.iter().map(|(_, prefix)| *prefix));
    let words: Vec<String> = overview
        .groups
        .iter()
        .filter(|group| !group.prefixes.is_empty())
        .map(|group| {
            format!("group {} owns {}", &group.group.to_string()[..8], listed(group.prefixes.iter().copied()))
        })
        .collect();
    html! {
        svg viewBox="0 0 1000 152" role="img" aria-label=(words.join("; ")) {
            line.axis x1="0" x2="1000" y1=(number(LOAD_HEIGHT)) y2=(number(LOAD_HEIGHT)) {}
            (requests(overview))
            @for (at, prefix) in &owned {
                (owned_by(overview, *at, prefix))
            }
            @for prefix in &gaps {
                @let (x, width) = extent(prefix, WIDTH);
                rect.nobody.edge x=(number(x)) y=(number(OWNED_AT)) width=(number(width)) height=(number(OWNED_HEIGHT)) {
                    title { "nobody owns " (listed(std::iter::once(*prefix))) }
                }
                @if width > 90.0 { text x=(number(x + 8.0)) y="111" { "nobody" } }
            }
            @for (at, label) in ["0", "¼", "½", "¾", "1"].into_iter().enumerate() {
                @let anchor = match at { 0 => "start", 4 => "end", _ => "middle" };
                text.out x=(at * 250) y="146" text-anchor=(anchor) { (label) }
            }
        }
    }
}

fn owned_by(overview: &Overview, at: usize, prefix: &Prefix) -> Markup {
    let group = &overview.groups[at];
    let (x, width) = extent(prefix, WIDTH);
    let name = listed(std::iter::once(*prefix));
    let served = if group.serves { "served" } else { "NOT SERVED" };
    let id = group.group.to_string();
    let mark = if group.serves { "" } else { "✕ " };
    let leaves = overview.moves.iter().any(|moving| moving.prefix == *prefix && moving.step != Step::Arrived);
    let mark = if leaves { "→ " } else { mark };
    let class = format!("edge {}{}", colour(at), if group.serves { "" } else { " down" });
    html! {
        rect class=(class) x=(number(x)) y=(number(OWNED_AT)) width=(number(width)) height=(number(OWNED_HEIGHT)) rx="4" {
            title { "prefix " (name) ", group " (id) ", " (served) }
        }
        @if width > 150.0 {
            text x=(number(x + 10.0)) y="111" class=[(!group.serves).then_some("out")] { (mark) (name) " · " (&id[..8]) }
        } @else if width > 12.0 * name.chars().count() as f64 {
            text x=(number(x + 6.0)) y="111" class=[(!group.serves).then_some("out")] { (mark) (name) }
        }
    }
}

/// Requests per width, in sixteenths of each prefix, so that the area of a bar is how many there were.
fn requests(overview: &Overview) -> Markup {
    let mut bars: Vec<(usize, f64, f64, f64, u32)> = Vec::new();
    for (at, group) in overview.groups.iter().enumerate() {
        let Some(load) = &group.load else { continue };
        for of in &load.prefixes {
            let (x, width) = extent(&of.prefix, WIDTH);
            let part = width / of.parts.len() as f64;
            for (i, count) in of.parts.iter().enumerate().filter(|(_, count)| **count > 0) {
                bars.push((
                    at,
                    x + part * i as f64,
                    part,
                    f64::from(*count) / part.max(f64::MIN_POSITIVE),
                    *count,
                ));
            }
        }
    }
    let most = bars.iter().map(|(.., density, _)| *density).fold(f64::MIN_POSITIVE, f64::max);
    html! {
        @for (at, x, width, density, count) in bars {
            @let height = (LOAD_HEIGHT * density / most).max(2.0);
            rect class=(colour(at)) x=(number(x)) y=(number(LOAD_HEIGHT - height)) width=(number((width - 1.0).max(0.5)))
                height=(number(height)) { title { (count) " requests lately" } }
        }
    }
}

/// A bar of one group's load, of the most.
pub(super) fn bar(at: usize, value: u64, most: u64) -> Markup {
    let width = 200.0 * value as f64 / most.max(1) as f64;
    html! {
        svg viewBox="0 0 200 14" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="200" height="14" rx="3" {}
            rect class=(colour(at)) width=(number(width)) height="14" rx="3" {}
        }
    }
}

/// A prefix on its way from one group to another, each with its place among the groups and its name.
pub(super) fn arrow(from: (Option<usize>, &str), to: (Option<usize>, &str), prefix: &str) -> Markup {
    let class = |at: Option<usize>| at.map_or("track".into(), colour);
    html! {
        svg viewBox="0 0 1000 56" role="img" aria-label=(format!("prefix {prefix} from group {} to group {}", from.1, to.1)) {
            rect class=(class(from.0)) x="0" y="8" width="180" height="40" rx="6" {}
            text x="90" y="33" text-anchor="middle" { (from.1) }
            path.arrow d="M190 28 H790" {}
            path.head d="M790 18 L812 28 L790 38 Z" {}
            text.out x="490" y="20" text-anchor="middle" { (prefix) }
            rect class=(class(to.0)) x="820" y="8" width="180" height="40" rx="6" {}
            text x="910" y="33" text-anchor="middle" { (to.1) }
        }
    }
}
