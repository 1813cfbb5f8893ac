//! A realm, as its HSM states it, with what its custodians have signed of it.

use super::founded::Founded;
use super::show::{realm_json, realm_rows, table};
use super::stated::Stated;
use serde_json::Value;
use strongroom_proto::hsm::RealmStatus;

/// For people.
pub(super) fn text(realm: &RealmStatus, founded: &Founded, stated: &Stated) -> String {
    let mut rows = realm_rows(realm);
    rows.push(("statement", stated.text()));
    rows.push(("founding", founded.text()));
    let mut text = table(&rows);
    if let Some(line) = founded.line() {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// For programs.
pub(super) fn json(realm: &RealmStatus, founded: &Founded, stated: &Stated) -> Value {
    let mut value = realm_json(realm);
    if let Some(value) = value.as_object_mut() {
        value.insert("founding".into(), founded.line().into());
        value.insert("founding_state".into(), founded.text().into());
        value.insert("statement".into(), stated.note().into());
        value.insert("statement_state".into(), stated.text().into());
    }
    value
}
