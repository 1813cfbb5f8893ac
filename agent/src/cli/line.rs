//! What operators and custodians carry from one machine to another: one line of text, safe to paste, that says what it
//! is. None of it is secret; a sealed realm opens in only one HSM.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::{Decode, Encode};
use strongroom_proto::enrolment::{
    CustodianSignature, EnrolmentRequest, ExportApproval, FoundingStatement, SealedRealm,
};
use strongroom_proto::statement::GroupStatement;

/// The longest line, in characters.
const MAX_LEN: usize = 8192;

/// Something that can be written as one line: `strongroom-<kind>-2:<base64url of its CBOR>`.
pub trait Line: Encode<()> + for<'b> Decode<'b, ()> {
    /// What it is, in the line and in messages.
    const KIND: &'static str;
    /// The command that prints it.
    const PRINTED_BY: &'static str;

    /// The line.
    ///
    /// # Panics
    /// Never: a vector takes all bytes.
    fn to_line(&self) -> String {
        let bytes = minicbor::to_vec(self).expect("a vector takes all bytes");
        format!("strongroom-{}-2:{}", Self::KIND, URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a line; white space around and inside it, which pasting can add, is skipped.
    ///
    /// # Errors
    /// [`LineError`].
    fn from_line(text: &str) -> Result<Self, LineError> {
        let text: String =
            text.chars().filter(|c| !c.is_whitespace()).take(MAX_LEN.saturating_add(1)).collect();
        let wrong = LineError { kind: Self::KIND, printed_by: Self::PRINTED_BY };
        let body =
            text.strip_prefix(&format!("strongroom-{}-2:", Self::KIND)).filter(|_| text.len() <= MAX_LEN);
        let bytes = body.and_then(|body| URL_SAFE_NO_PAD.decode(body).ok()).ok_or(wrong)?;
        let value: Self = minicbor::decode(&bytes).map_err(|_| wrong)?;
        // The whole line must match: a field that this version does not know would be dropped silently.
        if minicbor::to_vec(&value).is_ok_and(|again| again == bytes) { Ok(value) } else { Err(wrong) }
    }
}

/// The text is not the line that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a whole line `strongroom-{kind}-2:…`; paste what `{printed_by}` printed")]
pub struct LineError {
    kind: &'static str,
    printed_by: &'static str,
}

impl Line for EnrolmentRequest {
    const KIND: &'static str = "request";
    const PRINTED_BY: &'static str = "hsm request";
}

impl Line for ExportApproval {
    const KIND: &'static str = "approval";
    const PRINTED_BY: &'static str = "hsm offer";
}

impl Line for CustodianSignature {
    const KIND: &'static str = "signature";
    const PRINTED_BY: &'static str = "hsm approve`, `realm sign` or `tenant events-key sign";
}

impl Line for SealedRealm {
    const KIND: &'static str = "realm";
    const PRINTED_BY: &'static str = "hsm export";
}

impl Line for FoundingStatement {
    const KIND: &'static str = "founding";
    const PRINTED_BY: &'static str = "realm create` or `realm found";
}

impl Line for GroupStatement {
    const KIND: &'static str = "group";
    const PRINTED_BY: &'static str = "group create";
}
