//! Streams as the realm's agents show them over HTTP, to a token of the tenant's with the scope `audit`.
//!
//! No agent is believed more than a store: it hands on pages, and whoever reads them checks. It has to be the right one only because it is shown the
//! token, so it is asked over TLS alone, or on this machine.

use crate::page::MAX_PAGE_BYTES;
use crate::reader::{Source, Unavailable, causes};
use crate::token::{TokenError, TokenSource};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, StatusCode, retry};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_proto::ids::GroupId;
use tokio::time::{Instant, sleep};
use url::{Host, Url};

/// How often something is asked for, of one agent after another, before that counts as no answer.
const TRIES: usize = 4;
/// The pause after the first try; each further one is three times as long, unless the agent says how long.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// The longest pause that an agent may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take, beside what it was asked to wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an agent is asked to wait for a page, in seconds; and if there are more streams than polls.
const WAIT_S: u64 = 25;
const WAIT_OF_MANY_S: u64 = 5;
/// The most pages that are waited for at once.
const POLLS: usize = 8;
/// A poll that ends sooner, without a page, is no wait.
const A_MOMENT: Duration = Duration::from_secs(1);
/// The longest list of groups, in bytes: an id and a line's end for each that is read, and one more.
const MAX_LIST: usize = 33 * (crate::offsets::MAX_GROUPS + 1);
/// The longest number, in bytes.
const MAX_NUMBER: usize = 32;
/// How much of what an agent says is shown, in bytes.
const MAX_SAID: usize = 200;
/// The longest file of authorities, in bytes.
const MAX_AUTHORITIES: u64 = 4 << 20;

/// Why agents cannot be asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HttpError {
    /// No address of an agent.
    #[error(
        "{0}: give the address of an agent as apps have it: `https://host/`, or `http://` on this machine, because the token is sent there"
    )]
    Url(String),
    /// There is no address.
    #[error("give at least one --url")]
    None,
    /// The authorities cannot be used.
    #[error("{}: {why}; give the PEM certificates of the authority that signed the agents' ones", path.display())]
    Authority {
        /// Their file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// There can be no TLS.
    #[error("agents cannot be asked over TLS: {0}; install certificate authorities, or name yours with --ca")]
    Client(String),
}

/// The streams of the tenant whose token is shown to agents. Clones share connections.
#[derive(Clone)]
pub struct HttpSource {
    client: Client,
    agents: Arc<[Url]>,
    /// Which of them is asked.
    turn: Arc<AtomicUsize>,
    tokens: TokenSource,
    /// A page that a poll brought.
    at_hand: Arc<Mutex<Option<AtHand>>>,
}

struct AtHand {
    group: GroupId,
    number: u64,
    bytes: Vec<u8>,
}

impl fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agents: Vec<&str> = self.agents.iter().map(Url::as_str).collect();
        write!(f, "HttpSource({agents:?}, {:?})", self.tokens)
    }
}

/// What came of asking once.
enum Failed {
    /// It may be otherwise in a while, or at another agent.
    Again(String, Option<Duration>),
    /// It will not, until somebody does something.
    ForGood(String),
}

impl HttpSource {
    /// The agents at these addresses, any of which will do. Their certificates are checked against the authorities in the file `authority` or,
    /// without one, against the machine's.
    ///
    /// # Errors
    /// [`HttpError`]. Does not ask the agents themselves.
    pub fn open(agents: &[Url], authority: Option<&Path>, tokens: TokenSource) -> Result<Self, HttpError> {
        // A provider that was installed before is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let agents = agents.iter().map(checked).collect::<Result<Arc<[Url]>, _>>()?;
        let builder = match authority {
            Some(path) => Client::builder().tls_certs_only(certificates(path)?),
            // The machine may have no authorities and need none.
            None if agents.iter().all(|agent| agent.scheme() == "http") => {
                Client::builder().tls_certs_only([])
            }
            None => Client::builder(),
        };
        let client = builder
            .redirect(Policy::none())
            .retry(retry::never())
            .connect_timeout(CONNECT)
            .user_agent(concat!("strongroom-events/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| HttpError::Client(causes(&error)))?;
        if agents.is_empty() {
            return Err(HttpError::None);
        }
        let (turn, at_hand) = (Arc::default(), Arc::default());
        Ok(Self { client, agents, turn, tokens, at_hand })
    }

    /// What is at this path, of at most so many bytes and one. `None`: there is nothing.
    async fn get(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, Unavailable> {
        let (mut pause, mut tries) = (FIRST_PAUSE, 0);
        loop {
            match self.get_once(path, 0, most).await {
                Ok(found) => return Ok(found),
                Err(Failed::ForGood(why)) => return Err(Unavailable(why)),
                Err(Failed::Again(why, after)) => {
                    tries += 1;
                    if tries >= TRIES {
                        return Err(Unavailable(why));
                    }
                    sleep(after.map_or(pause, |after| after.min(LONGEST_PAUSE))).await;
                    pause *= 3;
                }
            }
        }
    }

    async fn get_once(&self, path: &str, wait_s: u64, most: usize) -> Result<Option<Vec<u8>>, Failed> {
        let turn = self.turn.load(Ordering::Relaxed);
        let agent = &self.agents[turn % self.agents.len()];
        let found = self.ask(agent, path, wait_s, most).await;
        if let Err(Failed::Again(..)) = found {
            // Another one, unless one that asked at the same time has seen to it.
            let next = turn.wrapping_add(1);
            let _ = self.turn.compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        found
    }

    async fn ask(
        &self,
        agent: &Url,
        path: &str,
        wait_s: u64,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Failed> {
        let url = agent.join(path).map_err(|error| Failed::ForGood(error.to_string()))?;
        // Anew for each: one lives for minutes.
        let token =
            self.tokens.token().await.map_err(|error: TokenError| Failed::ForGood(error.to_string()))?;
        let failed = |error: reqwest::Error| {
            let why = causes(&error.without_url());
            Failed::Again(
                format!("the agent at {agent} does not answer: {why}; check --url, and try again"),
                None,
            )
        };
        let request = self.client.get(url).bearer_auth(token.as_str());
        let request = request.timeout(PATIENCE + Duration::from_secs(wait_s));
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        match status {
            StatusCode::OK => return Ok(Some(body(response, most).await.map_err(failed)?)),
            StatusCode::NO_CONTENT => return Ok(None),
            // Too long whatever it says.
            StatusCode::PAYLOAD_TOO_LARGE => return Ok(Some(vec![0; most + 1])),
            _ => {}
        }
        let after = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        let said = body(response, MAX_SAID).await.unwrap_or_default();
        let printable =
            said.iter().take(MAX_SAID).take_while(|byte| byte.is_ascii_graphic() || **byte == b' ');
        let said: String = printable.map(|byte| char::from(*byte)).collect();
        Err(match status {
            StatusCode::UNAUTHORIZED => Failed::ForGood(format!(
                "the agent at {agent} does not take the token ({said}): it needs this realm as `aud`, `\"scope\": \"audit\"`, and time left"
            )),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Failed::ForGood(format!(
                "the agent at {agent} shows no events ({said}); check --url, and ask the operator for a later build, or for another agent"
            )),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Failed::Again(
                format!("the agent at {agent} answers {status} ({said}); try again"),
                after.map(Duration::from_secs),
            ),
            status => Failed::ForGood(format!("the agent at {agent} answers {status} ({said}); check --url")),
        })
    }

    async fn number(&self, path: &str) -> Result<Option<u64>, Unavailable> {
        let Some(bytes) = self.get(path, MAX_NUMBER).await? else { return Ok(None) };
        let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().parse().ok());
        number.map(Some).ok_or_else(|| senseless(path))
    }

    fn take(&self, group: GroupId, number: u64) -> Option<Vec<u8>> {
        let mut at_hand = self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |page: &mut AtHand| (page.group, page.number) == (group, number);
        at_hand.take_if(fits).map(|page| page.bytes)
    }

    /// Waits for one page. `None`: it has not come.
    async fn poll(&self, group: GroupId, number: u64, wait_s: u64) -> Option<AtHand> {
        let path = format!("events/{group}/{number}?wait={wait_s}");
        match self.get_once(&path, wait_s, MAX_PAGE_BYTES).await {
            Ok(found) => found.map(|bytes| AtHand { group, number, bytes }),
            // Who looks next says what is wrong.
            Err(Failed::Again(..) | Failed::ForGood(_)) => None,
        }
    }
}

impl Source for HttpSource {
    async fn groups(&self) -> Result<Vec<GroupId>, Unavailable> {
        let bytes = self.get("events", MAX_LIST).await?.unwrap_or_default();
        let text = std::str::from_utf8(&bytes).ok().filter(|_| bytes.len() <= MAX_LIST);
        let groups = text.and_then(|text| text.lines().map(|line| line.parse().ok()).collect());
        groups.ok_or_else(|| senseless("events"))
    }

    async fn page(&self, group: GroupId, number: u64) -> Result<Option<Vec<u8>>, Unavailable> {
        match self.take(group, number) {
            Some(bytes) => Ok(Some(bytes)),
            None => self.get(&format!("events/{group}/{number}"), MAX_PAGE_BYTES).await,
        }
    }

    async fn oldest(&self, group: GroupId, from: u64) -> Result<Option<u64>, Unavailable> {
        self.number(&format!("events/{group}/oldest?from={from}")).await
    }

    async fn newest(&self, group: GroupId) -> Result<Option<u64>, Unavailable> {
        self.number(&format!("events/{group}/newest")).await
    }

    async fn news(&self, pages: &[(GroupId, u64)]) -> bool {
        let (began, many) = (Instant::now(), pages.len() > POLLS);
        let wait = if many { WAIT_OF_MANY_S } else { WAIT_S };
        let polls = pages.iter().take(POLLS).map(|(group, number)| self.poll(*group, *number, wait));
        let mut polls: FuturesUnordered<_> = polls.collect();
        while let Some(found) = polls.next().await {
            if let Some(page) = found {
                *self.at_hand.lock().unwrap_or_else(PoisonError::into_inner) = Some(page);
                return true;
            }
        }
        // One that was not kept waiting pauses by itself.
        began.elapsed() >= A_MOMENT
    }
}

fn senseless(path: &str) -> Unavailable {
    Unavailable(format!("the agent answers /{path} with something else than it should; check --url"))
}

/// What comes, as far as that is not more than so many bytes, and one.
async fn body(mut response: Response, most: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(chunk.get(..most + 1 - bytes.len()).unwrap_or(&chunk));
        if bytes.len() > most {
            break;
        }
    }
    Ok(bytes)
}

fn checked(url: &Url) -> Result<Url, HttpError> {
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let bare = url.query().is_none() && url.fragment().is_none();
    let safe = url.scheme() == "https" || url.scheme() == "http" && here;
    if !(safe && bare && url.username().is_empty() && url.password().is_none()) {
        // Without what may be a password.
        let host = url.host_str().unwrap_or_default();
        return Err(HttpError::Url(format!("{}://{host}", url.scheme())));
    }
    let mut url = url.clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, HttpError> {
    let unusable = |why: String| HttpError::Authority { path: path.into(), why };
    let about = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
    if about.len() > MAX_AUTHORITIES {
        return Err(unusable("it is too long".into()));
    }
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(causes(&error)))?;
    if found.is_empty() { Err(unusable("there is no certificate in it".into())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_over_tls_or_on_this_machine_alone() {
        let checked = |url: &str| checked(&url.parse().unwrap()).map(|url| url.to_string());
        assert_eq!(checked("https://agent").unwrap(), "https://agent/");
        assert_eq!(checked("https://agent/realm").unwrap(), "https://agent/realm/");
        for good in ["http://127.0.0.1:8700/", "http://[::1]/", "http://localhost/"] {
            assert_eq!(checked(good).unwrap(), good);
        }
        for bad in
            ["http://agent/", "file:///tmp", "https://agent/?a=b", "https://a:hunter2@agent/", "ftp://a/"]
        {
            let error = checked(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
