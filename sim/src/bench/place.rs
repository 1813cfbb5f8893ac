//! The stores that are measured on, and what makes each ready for agents.

use super::bucket::BUCKET;
use crate::Error;
use crate::ceremony::within;
use crate::chaos::{Daemon, Store, address};
use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strongroom_agent::store::parse_url;
use tokio::net::TcpStream;
use url::Url;

/// A store to measure on.
#[derive(Clone, Debug)]
pub enum Place {
    /// One in memory, in a process of its own, that three agents reach as they reach S3.
    Memory,
    /// A folder of this machine: under this one or, if none is named, where temporary files are.
    Folder(Option<Url>),
    /// Any other. Below this URL, each realm gets a place of its own, which stays there.
    Given(Url),
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "memory://" => Ok(Self::Memory),
            "file://" => Ok(Self::Folder(None)),
            _ => {
                let url = parse_url(text)?;
                Ok(if url.scheme() == "file" { Self::Folder(Some(url)) } else { Self::Given(url) })
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory://"),
            Self::Folder(_) => f.write_str("file://"),
            Self::Given(url) => write!(f, "{url}"),
        }
    }
}

const PORT: u16 = 8690;

impl Place {
    /// Makes it ready for a realm that is kept in `dir`.
    ///
    /// # Errors
    /// Its server does not start.
    pub(super) async fn ready(
        &self,
        dir: &Path,
        put_ms: u64,
        options: &[(String, String)],
    ) -> Result<Store, Error> {
        let new = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let below = |url: &Url| Url::parse(&format!("{}/bench-{new}", url.as_str().trim_end_matches('/')));
        let url = match self {
            Self::Memory => {
                let at = SocketAddr::from((address(), PORT));
                let server = serve(dir, at, put_ms).await?;
                return Ok(Store::given(in_bucket(at), Some(server)));
            }
            Self::Folder(None) => {
                Url::from_directory_path(dir.join("store")).map_err(|()| "a relative path")?
            }
            Self::Folder(Some(url)) | Self::Given(url) => below(url)?,
        };
        let mut tables = String::from("[store_options]\n");
        for (name, value) in options {
            writeln!(tables, "{name} = '{value}'")?;
        }
        Ok(Store::given((format!("store = '{url}'\n"), tables), None))
    }
}

/// What `agent.toml` says about the bucket.
fn in_bucket(at: SocketAddr) -> (String, String) {
    let options = format!(
        "[store_options]\nendpoint = 'http://{at}'\nregion = 'us-east-1'\naccess_key_id = 'bench'\n\
         secret_access_key = 'bench'\nallow_http = 'true'\ndisable_bulk_delete = 'true'\n"
    );
    (format!("store = 's3://{BUCKET}/realm'\n"), options)
}

async fn serve(dir: &Path, at: SocketAddr, put_ms: u64) -> Result<Daemon, Error> {
    let own = std::env::current_exe()?;
    let arguments = ["bucket", "--listen", &at.to_string(), "--put-ms", &put_ms.to_string()];
    let mut server = Daemon::new(dir, "store".into(), &own, arguments.map(str::to_owned).into());
    server.start()?;
    let failing = format!("the store does not answer; see {}", server.log().display());
    within(Duration::from_secs(60), &failing, async || Ok(TcpStream::connect(at).await.ok())).await?;
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_by_its_url() {
        let read = |text: &str| text.parse::<Place>();
        assert!(matches!(read("memory://"), Ok(Place::Memory)));
        assert!(matches!(read("file://"), Ok(Place::Folder(None))));
        assert!(matches!(read("file:///var/tmp"), Ok(Place::Folder(Some(_)))));
        assert!(matches!(read("s3://bucket/realm"), Ok(Place::Given(_))));
        assert!(read("bucket").is_err());
    }
}
