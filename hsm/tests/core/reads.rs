//! Reads without a write as an honest host has them. What a hostile one tries is in `attacks`.

use crate::common::{Rig, User};
use strongroom_proto::client::SecretsRequest;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::Reply;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Captured;
use strongroom_proto::tree::Tree;

fn whole() -> Tree {
    Tree::new(Prefix::WHOLE)
}

/// Rounds of reads next to a stream of writes: what is stated to a nonce counts although more is committed meanwhile.
#[test]
fn statements_to_an_open_nonce_count_though_later_entries_are_committed() {
    let mut rig = Rig::new(3, None);
    rig.lead(0, None);
    rig.run(0, &mut whole(), &[]);
    let request = User::new(&rig, 1, 2).handshake_with(&SecretsRequest::Recover1.to_cbor()).1;
    for (more, counts) in [(1, true), (32, true), (33, false)] {
        let reply = rig.process(0, &whole(), std::slice::from_ref(&request));
        assert!(matches!(reply, Reply::Processed { made: None, .. }), "{reply:?}");
        let nonce = rig.read_nonce(0);
        let fresh = rig.fresh(&[1, 2], nonce);
        // All under way at once, and settled by one commit.
        let made: Vec<Entry> = (0..more).map(|_| rig.make(0, &mut whole(), &[]).entry).collect();
        let statements: Vec<Captured> = (0..3).map(|d| rig.captured(d, &made)).collect();
        rig.committed(0, &statements);
        let confirmed = matches!(rig.confirm(0, &fresh), Reply::Confirmed(reads) if reads.len() == 1);
        assert_eq!(confirmed, counts, "{more} entries later");
    }
}
