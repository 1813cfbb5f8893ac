//! Attacks with partial trees.

use super::common::evaluations;
use super::{Scene, answers};
use strongroom_hsm_planted::Bug;
use strongroom_proto::client::{Recover1Response, SecretsRequest, SecretsResponse};
use strongroom_proto::hsm::{BatchRequest, NoiseReply, PrefixTree, Reply, Request};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Captured;
use strongroom_proto::tree::ClaimedTree;

/// Runs a request on this tree, and commits or confirms it. What the user reads, if the HSM took the tree.
fn run_on(s: &mut Scene, prefix: Prefix, tree: &[u8], request: BatchRequest) -> Vec<SecretsResponse> {
    let tree = ClaimedTree::decode(tree).expect("decodes as a claim");
    let trees = vec![PrefixTree { prefix, tree }];
    let request = Request::Process { group: s.rig.group, trees, requests: vec![request] };
    let Reply::Processed { made, .. } = s.rig.devices[0].ask(&request) else { return Vec::new() };
    let replies: Vec<NoiseReply> = if let Some(made) = made {
        let statements: Vec<Captured> =
            (0..3).map(|d| s.rig.captured(d, std::slice::from_ref(&made.entry))).collect();
        let (_, released) = s.rig.committed(0, &statements);
        released.into_iter().flat_map(|r| r.replies).collect()
    } else {
        let nonce = s.rig.read_nonce(0);
        let statements = s.rig.fresh(&[0, 1, 2], nonce);
        let Reply::Confirmed(reads) = s.rig.confirm(0, &statements) else { panic!("not confirmed") };
        reads.into_iter().map(|read| read.reply).collect()
    };
    replies.iter().map(|reply| s.user.read(reply)).collect()
}

pub(super) fn guess_on_a_tree_of_another_prefix(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    // A tree of one leaf is that leaf, under any prefix: where this one goes, the root of the whole stays as it was.
    let prefix = Prefix::of(&s.user.record, 256).expect("as long as a record id");
    let tree = s.tree.partial(&[s.user.record]).expect("the host's tree is whole").encode();
    let mut evaluated = 0;
    for _ in 0..2 {
        let request = s.user.recover2();
        evaluated += evaluations(&run_on(&mut s, prefix, &tree, request));
    }
    evaluated > 1
}

pub(super) fn two_trees_of_one_prefix(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    let request = super::process_request(s.rig.group, &s.tree, &[]);
    let Request::Process { group, mut trees, requests } = request else { panic!() };
    trees.extend_from_within(..);
    matches!(s.rig.devices[0].ask(&Request::Process { group, trees, requests }), Reply::Processed { .. })
}

pub(super) fn guess_on_a_tree_made_by_hand(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    let old = s.tree.get(&s.user.record).expect("open").expect("there").clone();
    let first = s.user.recover2();
    let first = answers(&mut s, &[first]);
    // The record as it was, beside something that never was in any tree.
    let id = s.user.record.0;
    let mut nodes = vec![0x83, 0x81, 0x01];
    let mut leaf = Vec::new();
    let mut e = minicbor::Encoder::new(&mut leaf);
    e.array(3).expect("encodes").u8(4).expect("encodes");
    e.bytes(&id).expect("encodes").bytes(&old).expect("encodes");
    let stub = [&[0x82, 0x02, 0x58, 0x20][..], &[7; 32]].concat();
    let sides = if id[0] & 0x80 == 0 { [leaf, stub] } else { [stub, leaf] };
    nodes.extend(sides.concat());
    let request = s.user.recover2();
    let second = run_on(&mut s, Prefix::WHOLE, &nodes, request);
    evaluations(&first) + evaluations(&second) > 1
}

pub(super) fn registration_hidden_by_a_stub(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    let stub = [&[0x81, 0x82, 0x02, 0x58, 0x20][..], &s.tree.root().0].concat();
    let request = s.user.send(&SecretsRequest::Recover1);
    let answers = run_on(&mut s, Prefix::WHOLE, &stub, request);
    answers.contains(&SecretsResponse::Recover1(Recover1Response::NotRegistered))
}

#[test]
fn a_guess_on_the_tree_as_it_is_is_answered() {
    let mut s = Scene::new(None, 3, 1);
    let request = s.user.recover2();
    let tree = s.tree.partial(&[s.user.record]).expect("the host's tree is whole").encode();
    assert_eq!(evaluations(&run_on(&mut s, Prefix::WHOLE, &tree, request)), 1);
}
