//! `tenant usage`: what the users of each tenant asked for in a month, read from the store, without an agent.

use super::arguments::UsageArguments;
use super::error::CliError;
use super::reach::configured;
use super::show;
use crate::clock::system_clock;
use crate::store::Store;
use crate::usage::{Counts, Day, Month, MonthUsage, Operation, ReadError, Tally, read_month};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::Path;
use strongroom_proto::ids::RealmId;

/// How many objects that were passed over are named.
const NAMED: usize = 20;

pub(super) async fn usage(config: &Path, arguments: &UsageArguments) -> Result<(), CliError> {
    let config = configured(config)?;
    // To look must not create what is not there.
    let store = Store::open_existing(&config.store, &config.store_options)?;
    let realm = match arguments.realm {
        Some(realm) => realm,
        None => only_realm(&store).await?,
    };
    let month = arguments.month.unwrap_or_else(|| Day::at(system_clock()()).month());
    let read = read_month(&store, realm, month).await?;
    let shown = Shown { realm, month, read: &read, tenant: arguments.tenant.as_deref() };
    show::print(arguments.format, &shown.json(), || shown.text())?;
    for passed in read.passed_over.iter().take(NAMED) {
        // Whoever may write to the store chose the name.
        hintln!("passed over {}: {}", passed.object.escape_debug(), passed.why);
    }
    if read.passed_over.len() > NAMED {
        hintln!("and {} more", read.passed_over.len() - NAMED);
    }
    match read.passed_over.len() {
        0 => Ok(()),
        found => Err(CliError::Found(found)),
    }
}

async fn only_realm(store: &Store) -> Result<RealmId, CliError> {
    let folders = store.folders("realms").await.map_err(|_| ReadError::Unavailable)?;
    let mut realms = folders.iter().filter_map(|name| name.parse::<RealmId>().ok());
    match (realms.next(), realms.next()) {
        (Some(realm), None) => Ok(realm),
        (None, _) => Err(CliError::Arguments("the store holds nothing of any realm yet")),
        _ => Err(CliError::Arguments("the store holds several realms: say which with --realm")),
    }
}

/// What is shown of a month.
struct Shown<'a> {
    realm: RealmId,
    month: Month,
    read: &'a MonthUsage,
    tenant: Option<&'a str>,
}

impl Shown<'_> {
    fn tenants(&self) -> impl Iterator<Item = (&str, &Tally)> {
        let all = self.read.tallies.tenants().iter().map(|(name, tally)| (name.as_str(), tally));
        let only = self.tenant;
        all.filter(move |(name, _)| only.is_none_or(|only| only == *name))
    }

    /// The operations of tenants that were too many to be counted apart.
    fn others(&self) -> Option<&Counts> {
        let others = self.read.tallies.others();
        (others.total() > 0 && self.tenant.is_none()).then_some(others)
    }

    fn json(&self) -> Value {
        let tenant = |(name, tally): (&str, &Tally)| {
            json!({
                "tenant": name,
                "active_users": tally.users.estimate(),
                "active_users_exact": tally.users.is_exact(),
                "operations": operations(&tally.counts),
            })
        };
        let passed = self.read.passed_over.iter();
        let passed = passed.map(|passed| json!({ "object": passed.object, "why": passed.why.to_string() }));
        json!({
            "realm": self.realm.to_string(),
            "month": self.month.to_string(),
            "sheets": self.read.sheets,
            "tenants": self.tenants().map(tenant).collect::<Vec<_>>(),
            "other_tenants": self.others().map(operations),
            "passed_over": passed.collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let Self { realm, month, read, .. } = self;
        let mut text = format!("{month} (UTC), realm {realm}: {} sheets of agents\n", read.sheets);
        let mut rows = vec![vec!["tenant".to_owned(), "active users".to_owned()]];
        rows[0].extend(Operation::ALL.map(|operation| operation.name().to_owned()));
        rows[0].push("not answered".to_owned());
        for (name, tally) in self.tenants() {
            let about = if tally.users.is_exact() { "" } else { "~" };
            // It was read from the store.
            let name = name.escape_debug().to_string();
            rows.push(row(name, format!("{about}{}", tally.users.estimate()), &tally.counts));
        }
        if let Some(others) = self.others() {
            rows.push(row("(others)".to_owned(), "?".to_owned(), others));
        }
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        for row in &rows {
            let _ = write!(text, "  {:<1$}", row[0], widths[0]);
            for (value, &width) in row.iter().zip(&widths).skip(1) {
                let _ = write!(text, "  {value:>width$}");
            }
            text.push('\n');
        }
        text
    }
}

fn row(name: String, users: String, counts: &Counts) -> Vec<String> {
    let answered = Operation::ALL.map(|operation| counts.get(operation, true));
    let unanswered = counts.total().saturating_sub(answered.iter().sum());
    let numbers = answered.into_iter().chain([unanswered]).map(|number| number.to_string());
    [name, users].into_iter().chain(numbers).collect()
}

fn operations(counts: &Counts) -> Value {
    let of = |operation: Operation| {
        let [answered, unanswered] = [true, false].map(|answered| counts.get(operation, answered));
        (operation.name().to_owned(), json!({ "answered": answered, "not_answered": unanswered }))
    };
    Value::Object(Operation::ALL.map(of).into_iter().collect::<Map<String, Value>>())
}
