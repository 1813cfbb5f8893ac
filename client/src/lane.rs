//! The connections to each realm, and how they are replaced when one of them may be dead.
//!
//! An HTTP client keeps connections and reuses them. A connection gives no sign that the host at its other end was
//! stopped: what is sent over it next is lost as well. So a request that is repeated gets an HTTP client without
//! connections, which from then on serves everything that goes to that place. That client tries the addresses of a name
//! in another order, because the first may be the stopped host's.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use tokio::time::Instant;
use url::Url;

/// A client younger than this is fresh enough: requests that hang at the same time are repeated at the same time.
const FRESH: Duration = Duration::from_millis(500);

type Build = dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync;

/// An HTTP client for each place that was once left, and one for all others.
pub(crate) struct Lane {
    build: Box<Build>,
    first: reqwest::Client,
    replaced: Mutex<HashMap<String, Replaced>>,
}

struct Replaced {
    client: reqwest::Client,
    since: Instant,
    times: usize,
}

impl Lane {
    /// A lane of clients that are built with this function.
    pub(crate) fn new(
        build: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Result<Self, reqwest::Error> {
        let first = built(&build, 0)?;
        Ok(Self { build: Box::new(build), first, replaced: Mutex::default() })
    }

    /// The client with the connections to a place.
    pub(crate) fn usual(&self, url: &Url) -> reqwest::Client {
        let replaced = self.replaced.lock();
        replaced.get(&place(url)).map_or(&self.first, |replaced| &replaced.client).clone()
    }

    /// A client without connections, which replaces the current one.
    pub(crate) fn afresh(&self, url: &Url) -> Result<reqwest::Client, reqwest::Error> {
        let mut all = self.replaced.lock();
        let former = all.get(&place(url));
        if let Some(former) = former.filter(|former| former.since.elapsed() < FRESH) {
            return Ok(former.client.clone());
        }
        let times = former.map_or(0, |former| former.times) + 1;
        let client = built(&*self.build, times)?;
        all.insert(place(url), Replaced { client: client.clone(), since: Instant::now(), times });
        Ok(client)
    }
}

fn built(build: &Build, turned: usize) -> Result<reqwest::Client, reqwest::Error> {
    build(reqwest::Client::builder()).dns_resolver(Turned(turned)).build()
}

/// One entry per realm of the application's configurations: few.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The system's resolver, with the addresses rotated by this many.
struct Turned(usize);

impl Resolve for Turned {
    fn resolve(&self, name: Name) -> Resolving {
        let by = self.0;
        Box::pin(async move {
            // The port comes from the URL.
            let found = lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(turned(found, by).into_iter()) as Addrs)
        })
    }
}

fn turned(mut addresses: Vec<SocketAddr>, by: usize) -> Vec<SocketAddr> {
    let count = addresses.len().max(1);
    addresses.rotate_left(by % count);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring;
    use rustls::{ClientConfig, RootCertStore};
    use std::sync::Arc;

    #[test]
    fn each_turn_begins_with_the_next_address_and_leaves_none_out() {
        let addresses: Vec<SocketAddr> = (1..=3).map(|n| SocketAddr::from(([10, 0, 0, n], 0))).collect();
        for by in 0..7 {
            let found = turned(addresses.clone(), by);
            assert_eq!(found[0], addresses[by % 3]);
            assert!(addresses.iter().all(|address| found.contains(address)));
        }
        assert!(turned(Vec::new(), 5).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_hang_at_the_same_time_share_one_new_client() {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let lane = Lane::new(move |builder| builder.tls_backend_preconfigured(tls.clone())).unwrap();
        let (here, there): (Url, Url) =
            ("http://127.0.0.1:1/req".parse().unwrap(), "http://127.0.0.1:2/req".parse().unwrap());
        let times = |url: &Url| lane.replaced.lock().get(&place(url)).map_or(0, |replaced| replaced.times);
        lane.afresh(&here).unwrap();
        lane.afresh(&here).unwrap();
        assert_eq!((times(&here), times(&there)), (1, 0));
        tokio::time::advance(FRESH).await;
        lane.afresh(&here).unwrap();
        assert_eq!(times(&here), 2);
    }
}
