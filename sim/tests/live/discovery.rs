//! Agents that are told nothing about each other find each other in the store, and a request finds the leader of its group
//! from wherever it comes in.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use strongroom_agent::peers::AnnouncementName;
use strongroom_client::{Pin, UserSecret};
use strongroom_proto::ids::HsmId;
use strongroom_sim::ceremony::patiently;
use strongroom_sim::local::{LocalRealm, MEMBERS, Setting};

const SECRET: &[u8] = b"what the user entrusts";

async fn recovers(local: &LocalRealm, at: usize, user: &str) {
    let client = local.fast_client(at, user).await.expect("a realm");
    let secret = client.recover(&Pin::from("4821"), b"").await.expect("a leader is found");
    assert_eq!(secret.as_bytes(), SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_are_told_of_no_peer_find_each_other_and_one_that_shares_no_group_forwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let setting = Setting { peers: false, spares: 1, ..Setting::default() };
    let mut local = LocalRealm::start_with(folder.path(), any, setting).expect("starts");
    let (realm, outside) = (local.make_whole().await.expect("three new HSMs"), MEMBERS);
    let leader = local.leader(None).await.expect("one leads");
    let follower = (leader + 1) % MEMBERS;
    let client = local.fast_client(follower, "user").await.expect("a realm");
    let (secret, guesses) = (UserSecret::new(SECRET).expect("short"), NonZeroU8::new(5).expect("not 0"));
    client.register(&Pin::from("4821"), &secret, b"", guesses).await.expect("the leader is found");
    recovers(&local, leader, "user").await;

    let announced = folder.path().join(format!("store/realms/{realm}/agents"));
    // Whoever may write to the store writes this there.
    let hsm = local.device(leader).await.expect("it runs").hsm;
    let other = HsmId([0; 16]);
    let lie = |number| AnnouncementName::new(hsm, number, b"nothing of the kind");
    let long = vec![0; 1 << 20];
    for (name, bytes) in [
        ("README".to_owned(), &b"nothing"[..]),
        (lie(u64::MAX).to_string(), b"nothing of the kind"),
        (AnnouncementName::new(other, 1, &long).to_string(), &long),
        (AnnouncementName::new(other, 2, b"no").to_string(), b"something else"),
    ] {
        std::fs::write(announced.join(name), bytes).expect("a folder");
    }

    local.enrol(outside).await.expect("a new HSM");
    assert!(local.groups(outside).is_empty());
    recovers(&local, outside, "user").await;
    // In a group of its own, which shares no member with the other.
    let own = local.device(outside).await.expect("it runs").hsm;
    local.admin(outside).await.expect("it runs").create_group(&[own]).await.expect("a group of one");
    assert_eq!(local.groups(leader).len(), 1);
    recovers(&local, outside, "user").await;
    local.kill(leader).await;
    local.leader(Some(leader)).await.expect("another leads");
    recovers(&local, outside, "user").await;
    local.restart(leader).await.expect("its addresses are free");
    recovers(&local, outside, "user").await;

    let of_member = |text: std::ffi::OsString| {
        let name: Option<AnnouncementName> = text.into_string().ok()?.parse().ok();
        name.filter(|name| name.hsm != other && *name != lie(u64::MAX))
    };
    let one_each = async || {
        let files = std::fs::read_dir(&announced)?.collect::<Result<Vec<_>, _>>()?;
        let names = files.into_iter().filter_map(|file| of_member(file.file_name()));
        Ok((names.count() == MEMBERS + 1).then_some(()))
    };
    patiently("there is not one announcement of each agent", one_each)
        .await
        .expect("what is replaced is deleted");
    local.shutdown().await;
}
