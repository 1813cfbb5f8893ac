//! What agents ask of their store, from their own counters: each agent's `GET /metrics`.

use super::report::{PRICES, Prices};
use crate::Error;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Calls by purpose and kind, such as `log put`, over several agents.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Calls {
    /// All.
    pub(super) all: BTreeMap<String, u64>,
    /// Those of them that had no answer.
    pub(super) failed: BTreeMap<String, u64>,
    /// Bytes by purpose and way, such as `log sent`.
    pub(super) bytes: BTreeMap<String, u64>,
}

impl Calls {
    /// Those of agents that answer at these addresses.
    ///
    /// # Errors
    /// One does not answer.
    pub(super) async fn of(agents: &[SocketAddr]) -> Result<Self, Error> {
        let mut calls = Self::default();
        for agent in agents {
            calls.add(&page(*agent).await?);
        }
        Ok(calls)
    }

    fn add(&mut self, page: &str) {
        for line in page.lines() {
            self.add_bytes(line);
            let (into, rest) = match line.strip_prefix("strongroom_store_") {
                Some(rest) if rest.starts_with("calls_total{") => (&mut self.all, rest),
                Some(rest) if rest.starts_with("failed_calls_total{") => (&mut self.failed, rest),
                _ => continue,
            };
            let count = rest.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
            if let (Some(purpose), Some(kind), Some(count)) =
                (label(rest, "purpose"), label(rest, "kind"), count)
            {
                *into.entry(format!("{purpose} {kind}")).or_default() += count;
            }
        }
    }

    fn add_bytes(&mut self, line: &str) {
        for way in ["sent", "received"] {
            let of = line.strip_prefix("strongroom_store_").and_then(|rest| rest.strip_prefix(way));
            let Some(rest) = of.filter(|rest| rest.starts_with("_bytes_total{")) else { continue };
            let bytes = rest.rsplit(' ').next().and_then(|bytes| bytes.parse::<u64>().ok());
            if let (Some(purpose), Some(bytes)) = (label(rest, "purpose"), bytes) {
                *self.bytes.entry(format!("{purpose} {way}")).or_default() += bytes;
            }
        }
    }

    /// What was added since.
    pub(super) fn since(&self, before: &Self) -> Self {
        let since = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let added = |(name, count): (&String, &u64)| {
                let count = count.saturating_sub(before.get(name).copied().unwrap_or(0));
                (count > 0).then(|| (name.clone(), count))
            };
            now.iter().filter_map(added).collect()
        };
        Self {
            all: since(&self.all, &before.all),
            failed: since(&self.failed, &before.failed),
            bytes: since(&self.bytes, &before.bytes),
        }
    }

    /// What a cloud asks for them, in dollars.
    pub(super) fn dollars(&self) -> f64 {
        let Prices { put, get, list, delete } = PRICES;
        let price = |name: &str| match name.rsplit(' ').next() {
            Some("put") => put,
            Some("get") => get,
            Some("list") => list,
            _ => delete,
        };
        self.all.iter().map(|(name, count)| *count as f64 * price(name) / 1e6).sum()
    }
}

fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0)
}

async fn page(agent: SocketAddr) -> Result<String, Error> {
    let mut stream = TcpStream::connect(agent).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {agent}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.split(' ').nth(1) == Some("200") {
        Ok(answer)
    } else {
        Err(format!("the agent at {agent} shows no metrics").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "HTTP/1.1 200 OK\r\n\r\n# TYPE strongroom_store_calls counter\n\
        strongroom_store_calls_total{purpose=\"log\",kind=\"put\"} 7\n\
        strongroom_store_calls_total{kind=\"get\",purpose=\"tree\"} 10\n\
        strongroom_store_failed_calls_total{purpose=\"log\",kind=\"put\"} 1\n\
        strongroom_store_sent_bytes_total{purpose=\"log\"} 999\n# EOF\n";

    #[test]
    fn calls_of_all_agents_are_added_up_and_the_earlier_ones_taken_off() {
        let (mut before, mut now) = (Calls::default(), Calls::default());
        before.add(PAGE);
        now.add(PAGE);
        now.add(PAGE);
        now.add("strongroom_store_calls_total{purpose=\"log\",kind=\"list\"} 2\n");
        let added = now.since(&before);
        let expected = [("log list", 2), ("log put", 7), ("tree get", 10)];
        assert_eq!(added.all, expected.map(|(name, count)| (name.to_owned(), count)).into());
        assert_eq!(added.failed, [("log put".to_owned(), 1)].into());
        assert_eq!(added.bytes, [("log sent".to_owned(), 999)].into());
        let dollars = (2.0 * PRICES.list + 7.0 * PRICES.put + 10.0 * PRICES.get) / 1e6;
        assert!((added.dollars() - dollars).abs() < 1e-12);
    }
}
