//! What the custodian of a local realm says of it.

use ed25519_dalek::Signer as _;
use strongroom_sim::local::LocalRealm;
use strongroom_tlog::{Note, RealmStatement, VerifierKey};

/// The realm's statement, signed. Checkpoints need the cosignatures of all these witnesses.
///
/// # Panics
/// The realm is not whole.
pub(crate) async fn statement(local: &LocalRealm, witnesses: Vec<VerifierKey>) -> Note {
    let device = local.device(0).await.expect("it answers");
    let realm = device.realm.expect("a realm");
    let statement = RealmStatement {
        realm: realm.realm,
        version: 1,
        noise_key: realm.public_key,
        checkpoint_key: realm.checkpoint_key.expect("it signs checkpoints"),
        policy: realm.policy,
        builds: vec![device.build],
        cosignatures: witnesses.len(),
        witnesses,
    };
    let text = statement.to_string();
    let signature = local.custodian().expect("its key").sign(text.as_bytes()).to_bytes();
    let custodian = statement.policy.custodians.first().expect("one custodian");
    let line = statement.signature(custodian, signature).expect("a good key");
    Note::new(text, vec![line]).expect("a note")
}
