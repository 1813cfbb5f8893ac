//! What `verify` says of a realm in which one thing is wrong: exactly that check fails, and the verdict says why.

mod support;

use strongroom_proto::ids::{BuildDigest, GroupId, Index, RealmId, TreeHash, X25519Public};
use strongroom_tlog::entries::bundle;
use strongroom_verify::{Check, Failure, Outcome, Verdict};
use support::*;

#[tokio::test]
async fn verified() {
    let report = Scene::asked_everything().await.report().await;
    assert_eq!(report.verdict(), Verdict::Verified(vec![]), "{report:#?}");
    let made: Vec<Check> = report.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(made, Check::ALL, "each check was made, once");
    assert!(report.notes.is_empty(), "{report:#?}");
    let told = outcome(&report, Check::Segments).told();
    assert_eq!(told, "26 segments with 104 entries are those of the tree; 4 entries follow the checkpoint");
}

#[tokio::test]
async fn verified_but_not_what_nobody_asked_for() {
    let scene = Scene::new().await;
    let verdict = scene.report().await.verdict().to_string();
    assert!(verdict.starts_with(&format!("verified; not checked: consistency of group {GROUP}, build of ")));
}

// The statement.

#[tokio::test]
async fn no_statement() {
    let mut scene = Scene::asked_everything().await;
    scene.statement = "strongroom".into();
    scene.fails(Check::Statement, "the statement cannot be read").await;
}

#[tokio::test]
async fn one_of_the_realms_custodians_has_signed_the_statement_and_two_must() {
    let mut scene = Scene::asked_everything().await;
    scene.statement = scene.keys.signed(&scene.keys.statement(vec![]), &[1]);
    scene.fails(Check::Statement, "1 of the realm's custodians have signed the statement, and 2 must").await;
}

#[tokio::test]
async fn the_signature_of_a_statement_that_was_changed_is_bad() {
    let mut scene = Scene::asked_everything().await;
    scene.statement = scene.statement.replace("version 3", "version 4");
    scene.fails(Check::Statement, "is bad").await;
}

// The founding.

async fn founding(change: impl FnOnce(&mut strongroom_proto::enrolment::Founding), said: &str) {
    let scene = Scene::asked_everything().await;
    let mut founding = scene.keys.founding();
    change(&mut founding);
    let founded = scene.keys.founded(&founding, &[0, 1]);
    scene.put(&format!("realms/{REALM}/founding"), founded).await;
    scene.fails(Check::Founding, said).await;
}

#[tokio::test]
async fn what_is_in_its_place_is_no_founding() {
    let scene = Scene::asked_everything().await;
    for bytes in [&b"anything"[..], b"\xff", b"strongroom-founding-2:", b"strongroom-founding-2:gA"] {
        scene.put(&format!("realms/{REALM}/founding"), bytes.to_vec()).await;
        scene.fails(Check::Founding, "is no founding").await;
    }
}

#[tokio::test]
async fn too_few_custodians_have_signed_the_founding() {
    let scene = Scene::asked_everything().await;
    let founded = scene.keys.founded(&scene.keys.founding(), &[2]);
    scene.put(&format!("realms/{REALM}/founding"), founded).await;
    scene.fails(Check::Founding, "too few of the custodians that the founding names").await;
}

#[tokio::test]
async fn the_founding_is_of_another_realm() {
    founding(|founding| founding.realm = RealmId([9; 16]), "the founding is of another realm").await;
}

#[tokio::test]
async fn the_founding_has_another_public_key() {
    founding(|founding| founding.public_key = X25519Public([9; 32]), "the realm's public key is").await;
}

#[tokio::test]
async fn the_founding_has_another_policy() {
    founding(|founding| founding.policy.smallest_group = None, "another policy than the statement").await;
}

#[tokio::test]
async fn the_founding_has_another_checkpoint_key() {
    founding(|founding| founding.checkpoint_key = Some(other_key()), "the checkpoint key is").await;
}

#[tokio::test]
async fn a_founding_without_a_checkpoint_key_counts_and_a_note_says_so() {
    let scene = Scene::asked_everything().await;
    let mut founding = scene.keys.founding();
    founding.checkpoint_key = None;
    scene.put(&format!("realms/{REALM}/founding"), scene.keys.founded(&founding, &[0, 1])).await;
    let report = scene.report().await;
    assert_eq!(report.verdict(), Verdict::Verified(vec![]));
    assert!(notes(&report, Check::Founding).contains("says nothing of it"));
    scene.delete(&format!("realms/{REALM}/founding")).await;
    let verdict = scene.report().await.verdict();
    assert_eq!(verdict, Verdict::Verified(vec!["founding of realm".into()]));
}

// The checkpoint.

#[tokio::test]
async fn no_key_that_is_known_has_signed_the_checkpoint() {
    let scene = Scene::asked_everything().await;
    let note = sign(&stranger(), &GROUP, SIZE, &root(&scene.hashes()[..SIZE as usize]));
    scene.put_checkpoint(&GROUP, &scene.keys.cosigned(note, COSIGNED)).await;
    scene.fails(Check::Checkpoint, "no key that is known here has signed the note").await;
}

#[tokio::test]
async fn the_checkpoint_was_changed_after_it_was_signed() {
    let scene = Scene::asked_everything().await;
    let name = format!("{}/checkpoint", tlog(&GROUP));
    let text = String::from_utf8(scene.get(&name).await).unwrap();
    scene.put(&name, text.replacen("\n600\n", "\n601\n", 1)).await;
    scene.fails(Check::Checkpoint, "is bad").await;
}

#[tokio::test]
async fn the_checkpoint_is_of_another_log() {
    let scene = Scene::asked_everything().await;
    // Signed by the realm, but for another group.
    let other = GroupId([0xcc; 16]);
    let note = scene.keys.checkpoint(&other, &scene.hashes()[..SIZE as usize]);
    scene.put_checkpoint(&GROUP, &scene.keys.cosigned(note, COSIGNED)).await;
    scene.fails(Check::Checkpoint, "the checkpoint is of the log").await;
}

#[tokio::test]
async fn what_is_in_its_place_is_no_checkpoint() {
    let scene = Scene::asked_everything().await;
    scene.put(&format!("{}/checkpoint", tlog(&GROUP)), "anything").await;
    scene.fails(Check::Checkpoint, "is no text that ends with a newline").await;
    scene.put(&format!("{}/checkpoint", tlog(&GROUP)), vec![b'a'; 1 << 20]).await;
    scene.fails(Check::Checkpoint, "is longer than").await;
}

// Cosignatures.

#[tokio::test]
async fn none_of_the_witnesses_has_cosigned_the_checkpoint() {
    let scene = Scene::asked_everything().await;
    scene.put_checkpoint(&GROUP, &scene.keys.checkpoint(&GROUP, &scene.hashes()[..SIZE as usize])).await;
    scene.fails(Check::Cosignatures, "0 of the witnesses that are trusted have cosigned").await;
}

#[tokio::test]
async fn the_cosignature_of_another_checkpoint_is_bad() {
    let scene = Scene::asked_everything().await;
    let earlier = scene.keys.checkpoint(&GROUP, &scene.hashes()[..599]);
    let cosignature = scene.keys.witness.cosign(earlier.text(), COSIGNED).unwrap();
    let note = scene.keys.checkpoint(&GROUP, &scene.hashes()[..SIZE as usize]).with(cosignature).unwrap();
    scene.put_checkpoint(&GROUP, &note).await;
    scene.fails(Check::Cosignatures, "the signature of witness.example").await;
}

#[tokio::test]
async fn the_cosignatures_are_too_old() {
    let mut scene = Scene::asked_everything().await;
    scene.asked.max_age = Some(3599);
    scene.fails(Check::Cosignatures, "0 witnesses have cosigned it in the last 3599 s, and 1 must").await;
    scene.asked.max_age = Some(3600);
    assert_eq!(scene.report().await.verdict(), Verdict::Verified(vec![]));
}

#[tokio::test]
async fn a_cosignature_from_the_future_says_nothing_about_its_age() {
    let mut scene = Scene::asked_everything().await;
    scene.asked.now = COSIGNED - 299;
    assert_eq!(scene.report().await.verdict(), Verdict::Verified(vec![]));
    scene.asked.now = COSIGNED - 301;
    scene.fails(Check::Cosignatures, "in the future").await;
}

#[tokio::test]
async fn whoever_wants_to_know_the_age_wants_a_cosignature() {
    let mut scene = Scene::asked_everything().await;
    let statement = strongroom_tlog::RealmStatement {
        cosignatures: 0,
        ..strongroom_tlog::RealmStatement::parse(
            &scene.statement[..scene.statement.find("\n\n").unwrap() + 1],
        )
        .unwrap()
    };
    scene.statement = scene.keys.signed(&statement, &[0, 1]);
    scene.put_checkpoint(&GROUP, &scene.keys.checkpoint(&GROUP, &scene.hashes()[..SIZE as usize])).await;
    scene.fails(Check::Cosignatures, "the newest cosignature is missing").await;
    scene.asked.max_age = None;
    assert_eq!(scene.report().await.verdict(), Verdict::Verified(vec![]));
}

// Tiles and bundles.

#[tokio::test]
async fn every_tile_and_bundle_is_needed_and_every_change_in_one_is_noticed() {
    let scene = Scene::asked_everything().await;
    let names = scene.names(&format!("{}/tile", tlog(&GROUP))).await;
    assert_eq!(names.len(), 7, "three bundles, three tiles over them, one over these");
    for name in names {
        let good = scene.get(&name).await;
        for place in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            scene.put(&name, bad).await;
            scene.fails(Check::Tiles, "tiles of group").await;
        }
        scene.put(&name, good[..good.len() - 1].to_vec()).await;
        scene.fails(Check::Tiles, "bytes, not").await;
        scene.put(&name, vec![0; 100_000]).await;
        scene.fails(Check::Tiles, "is longer than").await;
        scene.delete(&name).await;
        scene.fails(Check::Tiles, &format!("{name} is missing")).await;
        scene.put(&name, good).await;
    }
    assert_eq!(scene.report().await.verdict(), Verdict::Verified(vec![]));
}

#[tokio::test]
async fn an_entry_of_the_log_is_not_the_one_in_its_tree() {
    let scene = Scene::asked_everything().await;
    let mut entries = scene.hashes()[256..512].to_vec();
    entries.swap(10, 11);
    scene.put(&format!("{}/tile/entries/001", tlog(&GROUP)), bundle(&entries)).await;
    let said = format!("below groups/{GROUP}/tlog: entry 266 of the log is not the one in its tree");
    scene.fails(Check::Tiles, &said).await;
}

#[tokio::test]
async fn a_full_tile_stands_for_the_partial_one_that_was_deleted() {
    let scene = Scene::asked_everything().await;
    let all = scene.hashes();
    let older = &all[..500];
    scene.publish(&GROUP, older).await;
    let partial = scene.names(&format!("{}/tile", tlog(&GROUP))).await;
    for name in partial.iter().filter(|name| name.contains("/001.p/")) {
        scene.delete(name).await;
    }
    let checkpoint = scene.keys.cosigned(scene.keys.checkpoint(&GROUP, older), COSIGNED);
    scene.put_checkpoint(&GROUP, &checkpoint).await;
    assert_eq!(scene.report().await.verdict(), Verdict::Verified(vec![]));
}

#[tokio::test]
async fn a_log_of_more_than_one_window_is_read_to_its_end() {
    let mut scene = Scene::asked_everything().await;
    let long: Vec<_> = (0..66_000_u64)
        .map(|i| strongroom_proto::ids::EntryHash([i.to_be_bytes(); 4].concat().try_into().unwrap()))
        .collect();
    let other = GroupId([1; 16]);
    scene.publish(&other, &long).await;
    scene.asked.group = Some(other);
    scene.asked.since = vec![claimed(&scene.keys.checkpoint(&other, &long[..65_999]))];
    let report = scene.report().await;
    assert_eq!(report.verdict(), Verdict::Verified(vec![]), "{report:#?}");
    let name = format!("{}/tile/entries/257.p/208", tlog(&other));
    let mut last = scene.get(&name).await;
    *last.last_mut().unwrap() ^= 1;
    scene.put(&name, last).await;
    scene.fails(Check::Tiles, "entry 65999 of the log").await;
}

// Consistency.

#[tokio::test]
async fn the_log_went_back() {
    let mut scene = Scene::asked_everything().await;
    let earlier = scene.keys.checkpoint(&GROUP, &scene.hashes()[..602]);
    scene.asked.since = vec![claimed(&earlier)];
    let report = scene.fails(Check::Consistency, "the log went back: it had 602 entries").await;
    let Outcome::Failed(failure) = outcome(&report, Check::Consistency) else { panic!("it failed") };
    let now = scene.keys.checkpoint(&GROUP, &scene.hashes()[..SIZE as usize]);
    assert_eq!(failure.evidence(), [earlier.to_string(), now.to_string()]);
    assert_eq!(report.remembered, [claimed(&earlier)], "what it was is not forgotten");
}

#[tokio::test]
async fn the_log_forked() {
    let mut scene = Scene::asked_everything().await;
    for size in [1, 255, 256, 300, 599, 600] {
        let mut other = scene.hashes()[..size].to_vec();
        other[size / 2].0[0] ^= 1;
        let earlier = scene.keys.checkpoint(&GROUP, &other);
        scene.asked.since = vec![claimed(&earlier)];
        let said = format!("the log forked: its first {size} entries are not those that it had before");
        let report = scene.fails(Check::Consistency, &said).await;
        let Outcome::Failed(failure) = outcome(&report, Check::Consistency) else { panic!("it failed") };
        assert_eq!(failure.evidence()[0], earlier.to_string());
        assert_eq!(report.remembered, [claimed(&earlier)]);
    }
}

#[tokio::test]
async fn the_log_contradicts_one_of_several_earlier_checkpoints() {
    let mut scene = Scene::asked_everything().await;
    let mut other = scene.hashes()[..200].to_vec();
    other[3].0[0] ^= 1;
    let all = [&scene.hashes()[..100], &other, &scene.hashes()[..300]];
    scene.asked.since = all.iter().map(|hashes| claimed(&scene.keys.checkpoint(&GROUP, hashes))).collect();
    let report = scene.fails(Check::Consistency, "its first 200 entries are not those").await;
    assert_eq!(report.remembered, scene.asked.since);
}

#[tokio::test]
async fn the_log_has_disappeared() {
    let scene = Scene::asked_everything().await;
    for name in scene.names(&format!("groups/{GROUP}")).await {
        scene.delete(&name).await;
    }
    let report = scene.fails(Check::Consistency, "the log has disappeared").await;
    assert_eq!(report.remembered, scene.asked.since);
}

#[tokio::test]
async fn the_earlier_checkpoint_does_not_count_under_this_statement() {
    let mut scene = Scene::asked_everything().await;
    scene.asked.since = vec![claimed(&sign(&stranger(), &GROUP, 300, &root(&scene.hashes()[..300])))];
    scene.fails(Check::Consistency, "the earlier checkpoint does not count under this statement").await;
}

#[tokio::test]
async fn what_is_remembered_is_the_newest_checkpoint_and_that_of_groups_that_were_not_looked_at() {
    let mut scene = Scene::asked_everything().await;
    let other = claimed(&scene.keys.checkpoint(&GroupId([1; 16]), &scene.hashes()[..10]));
    scene.asked.since.push(other.clone());
    scene.asked.group = Some(GROUP);
    let report = scene.report().await;
    assert_eq!(report.verdict(), Verdict::Verified(vec![]));
    let sizes: Vec<u64> = report.remembered.iter().map(|kept| kept.claimed().size()).collect();
    assert_eq!(sizes, [SIZE, 10]);
    scene.asked.since = report.remembered;
    assert_eq!(scene.report().await.verdict(), Verdict::Verified(vec![]));
}

#[tokio::test]
async fn every_earlier_size_goes_on_to_the_newest() {
    let mut scene = Scene::asked_everything().await;
    scene.asked.rebuild.clear();
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 599, 600] {
        scene.asked.since = vec![claimed(&scene.keys.checkpoint(&GROUP, &scene.hashes()[..size]))];
        let report = scene.report().await;
        assert!(outcome(&report, Check::Consistency).is_passed(), "{size}: {report:#?}");
    }
}

// Segments.

#[tokio::test]
async fn a_segment_is_not_what_was_committed() {
    let scene = Scene::asked_everything().await;
    let mut entries = scene.segment(FIRST);
    entries[3].entry.transfers = 1;
    scene.store_segment(entries).await;
    let said = format!("segment {} is not what was committed: its entry 500", scene.segment_name(FIRST));
    scene.fails(Check::Segments, &said).await;
}

#[tokio::test]
async fn a_segment_across_the_checkpoint_is_judged_up_to_it() {
    let scene = Scene::asked_everything().await;
    let before = &scene.log[SIZE as usize - 4];
    // From entry 598 on: three that are committed, and one that is not.
    for name in [scene.segment_name(597), scene.segment_name(601)] {
        scene.delete(&name).await;
    }
    let mut entries = scene.log[SIZE as usize - 3..][..4].to_vec();
    assert_eq!(entries[0].entry.prev, before.entry.hash());
    scene.store_segment(entries.clone()).await;
    let report = scene.report().await;
    assert_eq!(report.verdict(), Verdict::Verified(vec![]));
    let told = outcome(&report, Check::Segments).told();
    assert!(told.ends_with("1 entries follow the checkpoint"), "{told}");
    // Beyond the checkpoint, another is as good.
    entries[3].entry.transfers = 1;
    scene.store_segment(entries.clone()).await;
    assert_eq!(scene.report().await.verdict(), Verdict::Verified(vec![]));
    entries[2].entry.transfers = 1;
    entries[3].entry.prev = entries[2].entry.hash();
    scene.store_segment(entries).await;
    scene.fails(Check::Segments, "its entry 600 has the hash").await;
}

#[tokio::test]
async fn a_segment_holds_another_one() {
    let scene = Scene::asked_everything().await;
    let other = scene.get(&scene.segment_name(FIRST + 4)).await;
    scene.put(&scene.segment_name(FIRST), other).await;
    scene.fails(Check::Segments, "holds another segment").await;
}

#[tokio::test]
async fn a_segment_is_of_another_realm() {
    let scene = Scene::asked_everything().await;
    let mut entries = scene.segment(FIRST);
    entries.truncate(1);
    entries[0].entry.realm = RealmId([9; 16]);
    scene.store_segment(entries).await;
    scene.fails(Check::Segments, "is of another realm").await;
}

#[tokio::test]
async fn a_segment_of_another_group_does_not_lie_under_this_groups_names() {
    let scene = Scene::asked_everything().await;
    let mut entries = scene.segment(FIRST);
    entries.truncate(1);
    entries[0].entry.group = GroupId([9; 16]);
    let segment = strongroom_replica::segment::Segment::new(entries).unwrap();
    scene.put(&scene.segment_name(FIRST), segment.encode().unwrap()).await;
    scene.fails(Check::Segments, "holds another segment").await;
}

#[tokio::test]
async fn a_segment_is_damaged() {
    let scene = Scene::asked_everything().await;
    // Also beyond the checkpoint.
    for first in [FIRST, 601] {
        let (name, good) = (scene.segment_name(first), scene.get(&scene.segment_name(first)).await);
        scene.put(&name, good[..good.len() - 1].to_vec()).await;
        scene.fails(Check::Segments, "is not a segment").await;
        scene.put(&name, vec![0; 4 << 20]).await;
        scene.fails(Check::Segments, "is longer than a segment may be").await;
        scene.put(&name, good).await;
    }
    let mut entries = scene.segment(FIRST);
    entries[0].events = vec![vec![1; 8].into()];
    entries[0].entry.index = Index(0);
    entries.truncate(1);
    assert!(strongroom_replica::segment::Segment::new(entries).is_err());
}

#[tokio::test]
async fn a_segment_begins_with_entry_0() {
    let scene = Scene::asked_everything().await;
    let mut entries = chain_after(None, 1, 9);
    entries[0].entry.index = Index(0);
    scene.store_segment(entries).await;
    scene.fails(Check::Segments, "begins with entry 0").await;
}

#[tokio::test]
async fn what_lost_its_place_and_what_competes_is_told_and_not_judged() {
    let scene = Scene::asked_everything().await;
    // A leader's that goes on from an entry which lost its place.
    let lost = chain_after(Some(&scene.log[520]), 1, 2);
    scene.store_segment(chain_after(lost.last(), 3, 2)).await;
    // Two that go on from the newest, of which one is inside a segment across the checkpoint.
    scene.delete(&scene.segment_name(597)).await;
    let across = [scene.segment(597), chain_after(scene.segment(597).last(), 1, 3)].concat();
    scene.store_segment(across).await;
    // One far away.
    scene.store_segment(chain_after(chain_after(scene.log.last(), 9, 4).last(), 2, 4)).await;
    scene.put(&format!("groups/{GROUP}/log/what-is-this"), "x").await;
    let report = scene.report().await;
    assert_eq!(report.verdict(), Verdict::Verified(vec![]), "{report:#?}");
    let notes = notes(&report, Check::Segments);
    assert!(notes.contains("after entry 600, 2 segments compete"), "{notes}");
    assert!(notes.contains("1 segments beyond the checkpoint do not lead on from it"), "{notes}");
    assert!(notes.contains("1 segments lost their place in the log"), "{notes}");
    assert!(notes.contains("1 objects beside the segments"), "{notes}");
}

#[tokio::test]
async fn a_log_without_any_segment_left_is_as_good() {
    let scene = Scene::asked_everything().await;
    for name in scene.names(&format!("groups/{GROUP}/log")).await {
        scene.delete(&name).await;
    }
    assert_eq!(scene.report().await.verdict(), Verdict::Verified(vec![]));
}

// The build.

#[tokio::test]
async fn the_sources_make_an_image_that_is_none_of_the_statements_builds() {
    let scene = Scene::asked_everything().await;
    let digest = sources_of(scene.sources.path(), b"another image");
    let report = scene.fails(Check::Build, &format!("makes an image with the digest {digest}")).await;
    assert!(report.findings.iter().any(|finding| matches!(
        &finding.outcome,
        Outcome::Failed(Failure::OtherBuild { builds, .. }) if builds.len() == 1
    )));
}

#[tokio::test]
async fn a_build_that_no_sources_were_given_for_is_not_checked() {
    let mut scene = Scene::asked_everything().await;
    let (one, other) = (sources_of(scene.sources.path(), b"an image"), BuildDigest([9; 32]));
    scene.statement = scene.keys.signed(&scene.keys.statement(vec![other, one]), &[0, 1]);
    assert_eq!(scene.report().await.verdict(), Verdict::Verified(vec![format!("build of {other}")]));
}

#[tokio::test]
async fn sources_that_cannot_be_built_prove_nothing() {
    let mut scene = Scene::asked_everything().await;
    let script = scene.sources.path().join("hsm/firmware/build.sh");
    for (text, said) in
        [("echo no compiler >&2; exit 1", "cannot be built: no compiler"), ("", "cannot be built")]
    {
        std::fs::write(&script, text).unwrap();
        let verdict = scene.report().await.verdict();
        assert!(matches!(&verdict, Verdict::Unknown(why) if why[0].contains(said)), "{verdict}");
    }
    scene.asked.rebuild = vec![scene.sources.path().join("elsewhere")];
    let verdict = scene.report().await.verdict();
    assert!(matches!(&verdict, Verdict::Unknown(why) if why[0].contains("give the root of the sources")));
}

#[tokio::test]
async fn a_root_of_an_empty_tree_is_checked_too() {
    let mut scene = Scene::asked_everything().await;
    let other = GroupId([1; 16]);
    scene.asked.group = Some(other);
    scene.asked.since.clear();
    scene.publish(&other, &[]).await;
    assert!(matches!(scene.report().await.verdict(), Verdict::Verified(_)));
    let note = sign(&scene.keys.checkpoints, &other, 0, &TreeHash([1; 32]));
    scene.put_checkpoint(&other, &scene.keys.cosigned(note, COSIGNED)).await;
    scene.fails(Check::Tiles, "do not lead to its root").await;
}
