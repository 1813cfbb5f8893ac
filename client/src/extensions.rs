//! Which extensions of the client protocol realms have listed (`docs/protocol.md`, section 18).
//!
//! A list is a host's word: a lie costs availability, and nothing else.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::Deserialize;
use strongroom_proto::ids::RealmId;

/// Registrations beside the present one.
const STAGING: &str = "staging";

/// What realms have listed, for as long as the client.
#[derive(Default)]
pub(crate) struct Extensions(Mutex<HashMap<RealmId, Vec<String>>>);

#[derive(Deserialize)]
struct Listed {
    extensions: Vec<String>,
}

impl Extensions {
    /// Whether a realm offers to stage registrations, if it was asked what it offers.
    pub(crate) fn known_staging(&self, realm: &RealmId) -> Option<bool> {
        self.0.lock().get(realm).map(|listed| has(listed, STAGING))
    }

    /// Remembers the list that a realm has shown, or that it shows none. Returns whether it offers to stage registrations; `None` if what
    /// it showed is no list.
    pub(crate) fn learn(&self, realm: RealmId, shown: Option<&[u8]>) -> Option<bool> {
        let listed = shown.map_or(Some(Vec::new()), parse)?;
        let offers = has(&listed, STAGING);
        self.0.lock().insert(realm, listed);
        Some(offers)
    }
}

fn parse(shown: &[u8]) -> Option<Vec<String>> {
    serde_json::from_slice(shown).ok().map(|Listed { extensions }| extensions)
}

fn has(listed: &[String], name: &str) -> bool {
    listed.iter().any(|extension| extension == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_by_the_names_that_are_known() {
        let offers = |text: &str| parse(text.as_bytes()).map(|listed| has(&listed, STAGING));
        assert_eq!(offers(r#"{"extensions":["attempts","staging"]}"#), Some(true));
        assert_eq!(offers(r#"{"extensions":["attempts","staging-2"],"more":1}"#), Some(false));
        assert_eq!(offers(r#"{"extensions":[]}"#), Some(false));
        for text in ["", "{}", "[\"staging\"]", "<html>staging", r#"{"extensions":"staging"}"#] {
            assert_eq!(offers(text), None, "{text}");
        }
    }
}
