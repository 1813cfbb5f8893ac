//! Cosigning witnesses, which C2SP calls witnesses, and which are no members of a group: others who remember what a log's last checkpoint was, and sign the next one only if it continues it (C2SP tlog-witness,
//! tlog-cosignature).
//!
//! What they answer is verified before it is kept. One that does not answer keeps no checkpoint from being published.

use super::PublishError;
use crate::causes::causes;
use crate::tls::install_provider;
use futures::future::join_all;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, retry};
use serde::{Deserialize, Deserializer};
use std::time::Duration;
use strongroom_proto::ids::TreeHash;
use strongroom_tlog::add_checkpoint::{AddCheckpoint, parse_cosignatures, parse_size};
use strongroom_tlog::checkpoint::CheckpointError;
use strongroom_tlog::{Note, Signature, SignatureType, VerifierKey};
use tokio::time::timeout;
use url::Url;

/// How long a witness may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 * 1024;
/// How often a witness that remembers another size than expected is asked again.
const TRIES: usize = 2;
/// The most witnesses that can be configured.
const MAX_WITNESSES: usize = 16;

/// One cosigning witness, as in `[[witnesses]]` of `agent.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessSettings {
    /// Where it takes checkpoints: what `add-checkpoint` is put behind, so it ends with a slash.
    #[serde(deserialize_with = "submission")]
    pub url: Url,
    /// The key that it signs with, as a vkey of type 4.
    #[serde(deserialize_with = "cosigner")]
    pub key: VerifierKey,
}

fn submission<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let url = Url::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)?;
    let web =
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    if web && url.query().is_none() && url.fragment().is_none() && url.path().ends_with('/') {
        return Ok(url);
    }
    Err(serde::de::Error::custom(
        "a cosigning witness's `url` is `https://host/…/`, without name and password, and ends with a slash",
    ))
}

fn cosigner<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VerifierKey, D::Error> {
    let key: VerifierKey = String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)?;
    if key.kind() == SignatureType::Cosignature {
        return Ok(key);
    }
    Err(serde::de::Error::custom(
        "a cosigning witness's `key` is its vkey for cosignatures, whose key begins with the byte 4",
    ))
}

/// Reads `[[witnesses]]`.
///
/// # Errors
/// There are too many, or two have one name.
pub fn witnesses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WitnessSettings>, D::Error> {
    let witnesses = Vec::<WitnessSettings>::deserialize(deserializer)?;
    if witnesses.len() > MAX_WITNESSES {
        return Err(serde::de::Error::custom("there are at most 16 cosigning witnesses"));
    }
    let named_before = |(n, witness): (usize, &WitnessSettings)| {
        witnesses.iter().take(n).any(|other| other.key.name() == witness.key.name())
    };
    if witnesses.iter().enumerate().any(named_before) {
        return Err(serde::de::Error::custom(
            "two cosigning witnesses have the same name; each is one `[[witnesses]]`",
        ));
    }
    Ok(witnesses)
}

/// What is asked of the log to convince a witness.
pub(super) trait Proves {
    /// The proof that the published tree of `size` leaves begins with that of `from` leaves.
    async fn consistency(&self, from: u64, size: u64, root: &TreeHash)
    -> Result<Vec<TreeHash>, PublishError>;
}

/// The witnesses of one log.
pub(super) struct Witnesses {
    /// None if there is nobody to ask.
    client: Option<Client>,
    all: Vec<Known>,
}

struct Known {
    witness: WitnessSettings,
    /// The size that it remembers, as far as that is known.
    size: u64,
}

/// A checkpoint that is to be cosigned.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) size: u64,
    pub(super) root: &'a TreeHash,
    pub(super) note: &'a Note,
}

impl Witnesses {
    /// Asks nobody yet.
    pub(super) fn new(witnesses: &[WitnessSettings]) -> Result<Self, PublishError> {
        let client = (!witnesses.is_empty()).then(client).transpose()?;
        let all = witnesses.iter().map(|witness| Known { witness: witness.clone(), size: 0 }).collect();
        Ok(Self { client, all })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Has all of them cosign a checkpoint, as far as they do. Returns their signatures.
    pub(super) async fn cosign(&mut self, signed: Signed<'_>, log: &impl Proves) -> Vec<Signature> {
        let Some(client) = &self.client else { return Vec::new() };
        let asked = self.all.iter_mut().map(|known| async move {
            let name = known.witness.key.name().clone();
            let cosigned = timeout(PATIENCE, known.cosign(client, signed, log)).await;
            let cosigned = cosigned.unwrap_or_else(|_| Err("it does not answer in time".into()));
            cosigned.inspect_err(|why| tracing::warn!(witness = %name, size = signed.size, why, "a cosigning witness does not cosign")).ok()
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

fn client() -> Result<Client, PublishError> {
    install_provider();
    Client::builder()
        .http1_only()
        .redirect(Policy::none())
        .retry(retry::never())
        .timeout(PATIENCE)
        .user_agent("strongroom-agent")
        .build()
        .map_err(|error| PublishError::Witnesses(causes(&error)))
}

impl Known {
    async fn cosign(
        &mut self,
        client: &Client,
        signed: Signed<'_>,
        log: &impl Proves,
    ) -> Result<Signature, String> {
        for _ in 0..TRIES {
            let from = self.size.min(signed.size);
            let proof = if from == 0 || from == signed.size {
                Vec::new()
            } else {
                let proof = log.consistency(from, signed.size, signed.root).await;
                proof.map_err(|error| error.to_string())?
            };
            let checkpoint =
                signed.note.clone().try_into().map_err(|error: CheckpointError| error.to_string())?;
            let request = AddCheckpoint { old: from, proof, checkpoint };
            let (status, answer) = self.submit(client, request.to_string()).await?;
            match status {
                StatusCode::OK => {
                    let cosignature = self.verified(&answer, signed.note)?;
                    self.size = signed.size;
                    return Ok(cosignature);
                }
                StatusCode::CONFLICT => {
                    let size =
                        parse_size(&answer).ok_or("it remembers another size, and does not say which")?;
                    if size > signed.size {
                        return Err(format!(
                            "it has seen {size} entries of this log: was the log taken back?"
                        ));
                    }
                    self.size = size;
                }
                status => {
                    return Err(format!("it answers {status}: {}", said(&answer)));
                }
            }
        }
        Err("what it remembers changes; does another agent lead the group?".into())
    }

    async fn submit(&self, client: &Client, body: String) -> Result<(StatusCode, Vec<u8>), String> {
        let url = self.witness.url.join("add-checkpoint").map_err(|error| error.to_string())?;
        let failed = |error: reqwest::Error| causes(&error.without_url());
        let mut response = client.post(url).body(body).send().await.map_err(failed)?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err("its answer is too long".into());
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((response.status(), answer))
    }

    /// Its signature among the lines that it answers.
    fn verified(&self, answer: &[u8], note: &Note) -> Result<Signature, String> {
        let key = &self.witness.key;
        let is_good = |signature: &Signature| {
            signature.name() == key.name()
                && signature.id() == key.id()
                && key.verify(note.text(), signature.bytes()).is_some()
        };
        let found = parse_cosignatures(answer).into_iter().flatten().find(is_good);
        found.ok_or_else(|| "it answers without a good signature of its key".into())
    }
}

/// The beginning of what a witness says, for the log.
fn said(answer: &[u8]) -> String {
    let printable = |byte: &&u8| byte.is_ascii_graphic() || **byte == b' ';
    answer.iter().take_while(printable).take(200).map(|byte| char::from(*byte)).collect()
}
