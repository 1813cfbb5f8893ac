//! What outsiders check the log of a group with: the formats of C2SP, and the proofs of RFC 6962 and RFC 9162.
//!
//! Pure: no I/O, no clock, no randomness. Everything that is parsed comes from strangers: it is bounded, and each text has one
//! spelling, so that what is parsed and written again is the same bytes. The hashes of leaves and nodes are those of
//! [`strongroom_proto::tlog`], which HSMs compute.
//!
//! | Format | Module |
//! |---|---|
//! | [signed-note](https://c2sp.org/signed-note) | [`note`], [`key`], [`signer`] |
//! | [tlog-checkpoint](https://c2sp.org/tlog-checkpoint) | [`checkpoint`] |
//! | [tlog-cosignature](https://c2sp.org/tlog-cosignature), Ed25519 | [`cosignature`] |
//! | [tlog-tiles](https://c2sp.org/tlog-tiles) | [`tile`], [`growth`], [`reader`], [`entries`] |
//! | [tlog-proof](https://c2sp.org/tlog-proof) | [`tlog_proof`]; with a list of requests that counted, [`receipt`]; several lists, [`history`] |
//! | [tlog-witness](https://c2sp.org/tlog-witness), requests and answers | [`add_checkpoint`] |
//! | the statement of a realm, a signed note | [`statement`] |
//! | RFC 6962, section 2.1; RFC 9162, section 2.1 | [`proof`] |

pub mod add_checkpoint;
pub mod checkpoint;
pub mod cosignature;
pub mod entries;
pub mod growth;
pub mod history;
pub mod key;
pub mod note;
pub mod proof;
pub mod reader;
pub mod receipt;
pub mod signer;
pub mod statement;
mod text;
pub mod tile;
pub mod tlog_proof;

pub use add_checkpoint::AddCheckpoint;
pub use checkpoint::{Checkpoint, ClaimedCheckpoint, Policy, VerifiedCheckpoint};
pub use growth::Edge;
pub use history::History;
pub use key::{KeyId, KeyName, SignatureType, VerifierKey};
pub use note::{Note, Signature};
pub use proof::{Node, verify_consistency, verify_inclusion};
pub use reader::TileReader;
pub use receipt::{ClaimedReceipt, Receipt, ReceiptError};
pub use signer::SigningKey;
pub use statement::RealmStatement;
pub use tile::{Resource, Tile};
pub use tlog_proof::TlogProof;
