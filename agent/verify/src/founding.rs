//! The founding of a realm, as it is in the store, beside the statement.

use crate::failure::{Failure, Fault};
use crate::source::{ReadError, Source};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use strongroom_proto::enrolment::FoundingStatement;
use strongroom_tlog::RealmStatement;

/// The longest founding, in bytes: a line as operators paste it.
const MAX_LEN: u64 = 8192;

/// What a founding begins with.
const PREFIX: &str = "strongroom-founding-2:";

/// What came of it: numbers and a note, or none if there is no founding.
pub(crate) async fn check(
    source: &Source,
    statement: &RealmStatement,
) -> Result<Option<(String, Option<String>)>, Fault> {
    let object = format!("realms/{}/founding", statement.realm);
    let bytes = match source.read(&object, MAX_LEN).await {
        Ok(bytes) => bytes,
        Err(ReadError::Absent { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let signed = parse(&bytes).ok_or(Failure::NoFounding { object })?;
    compare(&signed, statement)?;
    let founding = &signed.founding;
    let signers = founding.policy.signers(&founding.digest(), &signed.signatures).count_ones();
    let told = format!(
        "signed by {signers} of {} custodians, in HSM {} with build {}",
        founding.policy.custodians.len(),
        founding.hsm,
        founding.build
    );
    let note = "it was signed before foundings named the checkpoint key, and says nothing of it";
    Ok(Some((told, founding.checkpoint_key.is_none().then(|| note.into()))))
}

fn compare(signed: &FoundingStatement, statement: &RealmStatement) -> Result<(), Failure> {
    let founding = &signed.founding;
    if !signed.is_signed() {
        return Err(Failure::FoundingUnsigned);
    }
    if founding.realm != statement.realm {
        return Err(Failure::FoundingRealm(founding.realm));
    }
    if founding.public_key != statement.noise_key {
        return Err(Failure::NoiseKey { founding: founding.public_key, statement: statement.noise_key });
    }
    if founding.policy != statement.policy {
        return Err(Failure::Policy);
    }
    match founding.checkpoint_key {
        Some(founding) if founding != statement.checkpoint_key => {
            Err(Failure::CheckpointKey { founding, statement: statement.checkpoint_key })
        }
        _ => Ok(()),
    }
}

/// Reads the line. It must match as a whole: a field that this version does not know would be dropped silently.
fn parse(bytes: &[u8]) -> Option<FoundingStatement> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let cbor = Base64UrlUnpadded::decode_vec(text.strip_prefix(PREFIX)?).ok()?;
    let signed: FoundingStatement = minicbor::decode(&cbor).ok()?;
    (minicbor::to_vec(&signed).ok()? == cbor).then_some(signed)
}
