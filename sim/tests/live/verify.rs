//! What an auditor says of a real realm, from its bucket and its custodian's statement alone.

use crate::support::statement::statement;
use crate::support::until;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use strongroom_agent::config::Config;
use strongroom_agent::store::Store;
use strongroom_client::{Client, Pin, UserSecret};
use strongroom_proto::ids::{GroupId, Index};
use strongroom_replica::{Role, Status};
use strongroom_sim::local::{LocalRealm, MEMBERS, Setting};
use strongroom_tlog::ClaimedCheckpoint;
use strongroom_verify::{Asked, Check, Outcome, Report, Source, Verdict, verify};

async fn recover(client: &Client) {
    client.recover(&Pin::from("4821"), b"").await.expect("recovers");
}

/// A realm, its bucket, and what its custodian says of it.
struct Scene {
    local: LocalRealm,
    bucket: Arc<InMemory>,
    statement: String,
}

impl Scene {
    async fn new(folder: &std::path::Path) -> Self {
        let bucket = Arc::new(InMemory::new());
        let opened = Arc::clone(&bucket);
        let open = move |_: &Config| Ok(Store::on(Arc::clone(&opened) as Arc<dyn ObjectStore>));
        let setting = Setting { open: Box::new(open), checkpoints: NonZeroU16::new(1), ..Setting::patient() };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let local = LocalRealm::start_with(folder, any, setting).expect("starts");
        let realm = local.make_whole().await.expect("three new HSMs");
        // As `realm found` puts it there.
        let founding = std::fs::read(folder.join("founding")).expect("signed when the realm was made");
        let name = Path::from(format!("realms/{realm}/founding"));
        bucket.put(&name, founding.into()).await.expect("a store in memory answers");
        let statement = statement(&local, Vec::new()).await.to_string();
        Self { local, bucket, statement }
    }

    /// The report, once a checkpoint covers all that is committed now.
    async fn report(&self, asked: &Asked) -> Report {
        let committed = |(_, status): (GroupId, Status)| match status.role {
            Role::Leader { .. } => status.committed,
            _ => Index::ZERO,
        };
        let committed = (0..MEMBERS).flat_map(|i| self.local.groups(i)).map(committed).max();
        let committed = committed.expect("members").0;
        until("everything is published", async || {
            let report = audit(&self.statement, &self.bucket, asked).await;
            let covers = |kept: &ClaimedCheckpoint| kept.claimed().size() >= committed;
            report.remembered.first().is_some_and(covers).then_some(report)
        })
        .await
    }
}

async fn audit(statement: &str, bucket: &Arc<InMemory>, asked: &Asked) -> Report {
    let source = Source::on(Arc::clone(bucket) as Arc<dyn ObjectStore>);
    verify(statement.as_bytes(), &source, asked, &|_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_of_a_realm_verifies_and_one_that_was_taken_back_does_not_for_who_remembers() {
    let folder = tempfile::tempdir().expect("a folder");
    let scene = Scene::new(folder.path()).await;
    let leader = scene.local.leader(None).await.expect("one leads");
    let ada = scene.local.fast_client(leader, "ada").await.expect("a client");
    let (secret, guesses) = (UserSecret::new(b"a secret").expect("short"), NonZeroU8::new(5).expect("not 0"));
    ada.register(&Pin::from("4821"), &secret, b"", guesses).await.expect("registers");
    recover(&ada).await;

    let first = scene.report(&Asked::default()).await;
    assert!(matches!(first.verdict(), Verdict::Verified(_)), "{first:#?}");
    for check in [Check::Statement, Check::Founding, Check::Checkpoint, Check::Tiles, Check::Segments] {
        let passed = |finding: &strongroom_verify::Finding| finding.outcome.is_passed();
        let made = first.findings.iter().find(|finding| finding.check == check);
        assert!(made.is_some_and(passed), "{check}: {first:#?}");
    }
    let earlier = Arc::new(scene.bucket.fork());

    recover(&ada).await;
    let asked = Asked { since: first.remembered, ..Asked::default() };
    let second = scene.report(&asked).await;
    assert!(matches!(second.verdict(), Verdict::Verified(_)), "{second:#?}");
    let consistency = second.findings.iter().find(|finding| finding.check == Check::Consistency);
    assert!(consistency.is_some_and(|finding| finding.outcome.is_passed()), "{second:#?}");
    scene.local.shutdown().await;

    // Whoever owns the bucket shows the old one. It is right, as far as it goes.
    let unaware = audit(&scene.statement, &earlier, &Asked::default()).await;
    assert!(matches!(unaware.verdict(), Verdict::Verified(_)), "{unaware:#?}");
    let asked = Asked { since: second.remembered, ..Asked::default() };
    let aware = audit(&scene.statement, &earlier, &asked).await;
    let failed: Vec<&strongroom_verify::Finding> =
        aware.findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Failed(_))).collect();
    assert_eq!(failed.iter().map(|finding| finding.check).collect::<Vec<_>>(), [Check::Consistency]);
    assert!(aware.verdict().to_string().contains("the log went back"), "{}", aware.verdict());
}
