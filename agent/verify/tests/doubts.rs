//! What `verify` says when it cannot tell: never that a realm is verified.

mod support;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::sync::Arc;
use strongroom_proto::ids::{GroupId, RealmId};
use strongroom_verify::{Check, Outcome, Source, Verdict};
use support::*;

#[tokio::test]
async fn a_store_without_a_checkpoint_of_the_realm_is_not_verified() {
    let mut scene = Scene::new().await;
    scene.objects = Arc::new(InMemory::new());
    let verdict = scene.report().await.verdict();
    assert!(matches!(&verdict, Verdict::Unknown(why) if why[0].contains("has no checkpoint of this realm")));
    scene.asked.group = Some(GROUP);
    let verdict = scene.report().await.verdict();
    assert!(matches!(&verdict, Verdict::Unknown(why) if why[0].contains("no checkpoint of it is published")));
}

#[tokio::test]
async fn a_log_of_the_realm_without_a_checkpoint_is_not_passed_over() {
    let mut scene = Scene::new().await;
    let other = GroupId([1; 16]);
    let mut entries = chain_after(None, 1, 1);
    entries[0].entry.group = other;
    scene.store_segment(entries).await;
    let report = scene.report().await;
    let verdict = report.verdict();
    let said = format!("checkpoint of group {other}: no checkpoint of it is published");
    assert!(matches!(&verdict, Verdict::Unknown(why) if *why == [said]), "{verdict}");
    scene.asked.group = Some(GROUP);
    assert!(matches!(scene.report().await.verdict(), Verdict::Verified(_)));
}

#[tokio::test]
async fn groups_of_another_realm_are_passed_over_and_named() {
    let scene = Scene::new().await;
    let (published, logged) = (GroupId([1; 16]), GroupId([2; 16]));
    let text = scene.keys.checkpoint(&published, &[]).to_string();
    let other = RealmId([9; 16]);
    scene
        .put(
            &format!("{}/checkpoint", tlog(&published)),
            text.replace(&REALM.to_string(), &other.to_string()),
        )
        .await;
    let mut entries = chain_after(None, 1, 1);
    (entries[0].entry.group, entries[0].entry.realm) = (logged, other);
    scene.store_segment(entries).await;
    let report = scene.report().await;
    assert!(matches!(report.verdict(), Verdict::Verified(_)), "{report:#?}");
    assert!(report.notes[0].contains(&format!("group {published} has a checkpoint of another log")));
    assert!(report.notes[1].contains(&format!("group {logged} has neither")));
}

#[tokio::test]
async fn a_log_of_the_realm_does_not_hide_behind_a_checkpoint_of_another() {
    let scene = Scene::new().await;
    let name = format!("{}/checkpoint", tlog(&GROUP));
    let text = String::from_utf8(scene.get(&name).await).unwrap();
    scene.put(&name, text.replace(&REALM.to_string(), &RealmId([9; 16]).to_string())).await;
    scene.fails(Check::Checkpoint, "the checkpoint is of the log").await;
}

#[tokio::test]
async fn unknown_objects_beside_the_tiles_are_told_and_not_judged() {
    let scene = Scene::new().await;
    let folder = tlog(&GROUP);
    scene.put(&format!("{folder}/head/0000000000000258"), "any").await;
    for name in ["head/1", "tile/x", "index.html", "tile/0/1", "a", "b", "c"] {
        scene.put(&format!("{folder}/{name}"), "any").await;
    }
    let report = scene.report().await;
    assert!(matches!(report.verdict(), Verdict::Verified(_)));
    let notes = notes(&report, Check::Tiles);
    assert!(notes.starts_with("7 unknown objects") && notes.ends_with(", …"), "{notes}");
}

/// A store that does not answer about names with something in them.
#[derive(Debug)]
struct Silent {
    objects: Arc<InMemory>,
    about: &'static str,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Silent({})", self.about)
    }
}

fn silence() -> Error {
    Error::Generic { store: "test", source: "no answer".into() }
}

#[async_trait]
impl ObjectStore for Silent {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        panic!("nothing is written")
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        panic!("nothing is written")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if location.as_ref().contains(self.about) {
            return Err(silence());
        }
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        panic!("nothing is deleted")
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let is_silent = prefix.is_some_and(|prefix| prefix.as_ref().contains(self.about));
        let listed = self.objects.list(prefix);
        if is_silent {
            listed.take(1).chain(futures::stream::once(async { Err(silence()) })).boxed()
        } else {
            listed
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if prefix.is_some_and(|prefix| prefix.as_ref().contains(self.about)) {
            return Err(silence());
        }
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        panic!("nothing is copied")
    }
}

#[tokio::test]
async fn whatever_the_store_does_not_answer_about_the_realm_is_not_verified_and_nothing_failed() {
    let scene = Scene::asked_everything().await;
    let about = [
        ("founding", Check::Founding),
        ("groups", Check::Checkpoint),
        ("checkpoint", Check::Checkpoint),
        ("tile/0", Check::Tiles),
        ("tile/entries/002", Check::Tiles),
        ("tlog", Check::Checkpoint),
        ("log/00", Check::Segments),
        ("/log", Check::Segments),
    ];
    for (about, check) in about {
        let silent = Silent { objects: Arc::clone(&scene.objects), about };
        let report = scene.report_on(Source::on(Arc::new(silent))).await;
        let verdict = report.verdict();
        assert!(
            matches!(&verdict, Verdict::Unknown(why) if why[0].contains("no answer")),
            "{about}: {verdict}"
        );
        let first = report.findings.iter().find(|finding| matches!(finding.outcome, Outcome::Unknown(_)));
        assert_eq!(first.map(|finding| finding.check), Some(check), "{about}");
        assert!(report.remembered.iter().all(|kept| kept.claimed().size() == 300 || about == "founding"));
    }
}
