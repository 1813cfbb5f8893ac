//! How things look: as text for people, as JSON for programs.

use super::arguments::StatusFormat;
use crate::transcript::seen;
use serde_json::{Value, json};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use strongroom_proto::enrolment::{Attestation, CustodianKey, ExportApproval, Founding, RealmPolicy};
use strongroom_proto::hsm::{DeviceStatus, GroupStatus, Origin, RealmStatus, Role, Wear};
use strongroom_proto::ids::HsmId;
use strongroom_tlog::RealmStatement;

/// Prints one or the other to standard output.
pub(super) fn print(format: StatusFormat, json: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
    if format.json { out(format_args!("{json:#}\n")) } else { out(format_args!("{}", text())) }
}

/// Writes to standard output. A reader that stops reading, such as `head`, has what it wants: the command goes on, and
/// its exit code says how it ended.
pub(super) fn out(text: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes to standard error, if anything reads it.
pub(super) fn hint(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// Lines of a name and a value, with the values aligned.
pub(super) fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "  {name:width$}  {value}");
        text
    })
}

pub(super) fn approval_text(approval: &ExportApproval) -> String {
    table(&[
        ("realm", approval.realm.to_string()),
        ("public key", approval.public_key.to_string()),
        ("policy", policy_text(&approval.policy)),
        ("from HSM", approval.exporter.to_string()),
        ("its build", approval.exporter_build.to_string()),
        ("to HSM", approval.importer.to_string()),
        ("its key", approval.device_key.to_string()),
        ("its build", approval.importer_build.to_string()),
        ("attestation", attestation_text(&approval.attestation)),
    ])
}

pub(super) fn founding_text(founding: &Founding) -> String {
    let Founding { realm, public_key, policy, hsm, build, checkpoint_key } = founding;
    let mut rows = vec![
        ("realm", realm.to_string()),
        ("public key", public_key.to_string()),
        ("policy", policy_text(policy)),
    ];
    rows.extend(checkpoint_key.map(|key| ("checkpoints", key.to_string())));
    rows.extend(custodian_rows(policy, None, ""));
    rows.extend([("made in HSM", hsm.to_string()), ("its build", build.to_string())]);
    table(&rows)
}

pub(super) fn statement_text(statement: &RealmStatement, signers: Option<u16>) -> String {
    let RealmStatement { realm, version, noise_key, checkpoint_key, policy, builds, witnesses, cosignatures } =
        statement;
    let mut rows = vec![
        ("realm", realm.to_string()),
        ("version", version.to_string()),
        ("public key", noise_key.to_string()),
        ("policy", policy_text(policy)),
        ("checkpoints", checkpoint_key.to_string()),
    ];
    rows.extend(custodian_rows(policy, signers, ", signed it"));
    rows.extend(builds.iter().map(|build| ("build", build.to_string())));
    rows.extend(witnesses.iter().map(|witness| ("witness", seen(witness.to_string().chars()))));
    rows.push(("cosignatures", format!("{cosignatures} of {} witnesses", witnesses.len())));
    table(&rows)
}

fn attestation_text(attestation: &Attestation) -> String {
    match attestation.0.len() {
        0 => "none: only its own console tells this device from one that a host pretends".into(),
        bytes => format!("{bytes} bytes of its vendor; check them with the vendor's tool"),
    }
}

fn custodian_rows(policy: &RealmPolicy, signers: Option<u16>, what: &str) -> Vec<(&'static str, String)> {
    let row = |(i, key): (usize, &CustodianKey)| {
        let signed = signers.is_some_and(|signers| signers >> i & 1 == 1);
        ("custodian", format!("{}{}", key.0, if signed { what } else { "" }))
    };
    policy.custodians.iter().enumerate().map(row).collect()
}

fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::Unknown => "not known: from before this was kept".into(),
        Origin::MadeHere => "made in this HSM".into(),
        Origin::Imported { exporter, signers } => {
            format!("from HSM {exporter}, approved by {} custodians", signers.count_ones())
        }
    }
}

fn origin_json(realm: &RealmStatus) -> Value {
    match &realm.origin {
        Origin::Unknown => json!("unknown"),
        Origin::MadeHere => json!("made here"),
        Origin::Imported { exporter, signers } => {
            let custodians = realm.policy.custodians.iter().enumerate();
            let signed = custodians.filter(|(i, _)| signers >> i & 1 == 1);
            let signed: Vec<String> = signed.map(|(_, key)| key.0.to_string()).collect();
            json!({ "imported_from": exporter.to_string(), "signed_by": signed })
        }
    }
}

fn policy_text(policy: &RealmPolicy) -> String {
    let who = match policy.custodians.len() {
        0 => "closed: no other HSM ever gets the realm".into(),
        n => format!("{} of {n} custodians approve each further HSM", policy.threshold),
    };
    match policy.smallest_group {
        None | Some(1) => format!("{who}; a group may have one HSM"),
        Some(fewest) => format!("{who}; a group has at least {fewest} HSMs"),
    }
}

pub(super) fn realm_rows(realm: &RealmStatus) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("realm", realm.realm.to_string()),
        ("public key", realm.public_key.to_string()),
        ("policy", policy_text(&realm.policy)),
    ];
    let signers = match realm.origin {
        Origin::Imported { signers, .. } => Some(signers),
        Origin::Unknown | Origin::MadeHere => None,
    };
    rows.extend(custodian_rows(&realm.policy, signers, ", signed its import"));
    rows.push(("its keys", origin_text(&realm.origin)));
    if realm.unassigned {
        rows.push(("first group", "not made yet; make it here with `group create`".into()));
    }
    rows
}

pub(super) fn policy_json(policy: &RealmPolicy) -> Value {
    let custodians: Vec<String> = policy.custodians.iter().map(|key| key.0.to_string()).collect();
    json!({
        "custodians": custodians,
        "threshold": policy.threshold,
        "smallest_group": policy.smallest_group.unwrap_or(1),
    })
}

pub(super) fn realm_json(realm: &RealmStatus) -> Value {
    let mut value = json!({
        "realm": realm.realm.to_string(),
        "public_key": realm.public_key.to_string(),
        "unassigned": realm.unassigned,
        "origin": origin_json(realm),
        "attestation": hex::encode(&*realm.attestation.0),
    });
    if let (Some(value), Value::Object(policy)) = (value.as_object_mut(), policy_json(&realm.policy)) {
        value.extend(policy);
    }
    value
}

fn role(role: &Role) -> &'static str {
    match role {
        Role::Witness => "witness",
        Role::Leader { .. } => "leader",
        Role::SteppingDown => "stepping down",
    }
}

pub(super) fn device_text(device: &DeviceStatus) -> String {
    let mut rows = vec![
        ("HSM", device.hsm.to_string()),
        ("device key", device.device_key.to_string()),
        ("version", device.version.clone()),
        ("build", device.build.to_string()),
        ("attestation", attestation_text(&device.attestation)),
        ("limits", limits_text(device)),
        ("NVRAM", wear_text(&device.wear)),
    ];
    match &device.realm {
        Some(realm) => rows.extend(realm_rows(realm)),
        None => rows.push(("realm", "none yet; `realm create`, or `hsm request` to join one".into())),
    }
    for GroupStatus { statement, role: does, captured_index, .. } in &device.groups {
        let members = statement.members.len();
        rows.push((
            "group",
            format!("{}, {} among {members}, captured {captured_index}", statement.group, role(does)),
        ));
    }
    table(&rows)
}

fn limits_text(device: &DeviceStatus) -> String {
    let limits = &device.limits;
    format!(
        "frames of {} bytes, {} requests a batch, {} entries and {} replies pending, {} sessions, {} tree nodes a batch",
        limits.max_frame_bytes,
        limits.max_batch_requests,
        limits.max_pending_entries,
        limits.max_pending_replies,
        limits.max_sessions,
        limits.max_tree_nodes
    )
}

fn wear_text(wear: &Wear) -> String {
    let Wear { units, bad_units, spare_units, erases } = wear;
    let per_unit = wear.erases_per_unit();
    let advice = if *spare_units == 0 { "; no more may fail, so replace this HSM soon" } else { "" };
    format!(
        "{bad_units} of {units} erase units failed, {spare_units} spare; {erases} erases, about {per_unit} a unit{advice}"
    )
}

pub(super) fn device_json(device: &DeviceStatus) -> Value {
    let limits = &device.limits;
    let group = |group: &GroupStatus| {
        let members: Vec<String> = group.statement.members.iter().map(HsmId::to_string).collect();
        json!({
            "group": group.statement.group.to_string(),
            "members": members,
            "genesis": group.statement.genesis,
            "role": role(&group.role),
            "captured_index": group.captured_index.0,
            "captured_hash": group.captured_hash.to_string(),
        })
    };
    json!({
        "hsm": device.hsm.to_string(),
        "device_key": device.device_key.to_string(),
        "version": device.version,
        "build": device.build.to_string(),
        "attestation": hex::encode(&*device.attestation.0),
        "limits": {
            "max_frame_bytes": limits.max_frame_bytes,
            "max_batch_requests": limits.max_batch_requests,
            "max_pending_entries": limits.max_pending_entries,
            "max_pending_replies": limits.max_pending_replies,
            "max_sessions": limits.max_sessions,
            "max_tree_nodes": limits.max_tree_nodes,
        },
        "nvram": {
            "units": device.wear.units,
            "bad_units": device.wear.bad_units,
            "spare_units": device.wear.spare_units,
            "erases": device.wear.erases,
            "erases_per_unit": device.wear.erases_per_unit(),
        },
        "realm": device.realm.as_ref().map(realm_json),
        "groups": device.groups.iter().map(group).collect::<Vec<_>>(),
    })
}
