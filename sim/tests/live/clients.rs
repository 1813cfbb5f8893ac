//! Clients against agents that run: one written from the protocol alone, over every way in and with every kind of
//! token, at the leader and at a witness; and the SDK with three realms of which one goes down.

use crate::support::client::{Door, Recovered, User};
use crate::support::tokens::Issuer;
use crate::support::{OneMember, Setting};
use reqwest::Version;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::time::Duration;
use strongroom_client::{
    Client, Configuration, Error, ErrorKind, FixedTokens, Https, Pin, RetryPolicy, UserSecret,
};
use strongroom_proto::client::{ClientResponse, SecretsRequest};
use strongroom_sim::local::{LocalRealm, MEMBERS};

const SECRET: &[u8] = b"what the user entrusts";

fn plain(issuer: &Issuer) -> Setting {
    Setting { tenants: issuer.tenants_toml(), tls: None, clocks: None }
}

/// A certificate for this machine's address, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The whole life of a registration with three guesses.
async fn live(mut user: User) {
    assert_eq!(user.recover("4821").await, Recovered::NotRegistered);
    user.register("4821", SECRET, 3).await;
    assert_eq!(user.recover("0000").await, Recovered::WrongPin { guesses_remaining: 2 });
    assert_eq!(user.recover("4821").await, Recovered::Secret(SECRET.into()));
    for guesses_remaining in [2, 1, 0] {
        assert_eq!(user.recover("0000").await, Recovered::WrongPin { guesses_remaining });
    }
    assert_eq!(user.recover("4821").await, Recovered::NoGuesses);
    user.register("1111", SECRET, 1).await;
    // The last guess, if it is right, gives everything back.
    assert_eq!(user.recover("1111").await, Recovered::Secret(SECRET.into()));
    assert_eq!(user.recover("1111").await, Recovered::Secret(SECRET.into()));
    user.delete().await;
    assert_eq!(user.recover("1111").await, Recovered::NotRegistered);
}

/// Every kind of token through each door.
async fn live_through(doors: Vec<(&str, Door)>, realm: &OneMember, issuer: &Issuer) {
    for (way, door) in doors {
        for (seed, kid) in Issuer::KIDS.iter().enumerate() {
            let token = issuer.token(kid, &format!("{way} {kid}"), &realm.realm.realm);
            let (id, key) = (realm.realm.realm, realm.realm.public_key);
            live(User::new(door.clone(), id, key, token, seed as u64)).await;
        }
    }
}

#[tokio::test]
async fn a_client_lives_over_plain_http_and_grpc_with_every_kind_of_token() {
    let issuer = Issuer::new();
    let realm = OneMember::start(plain(&issuer)).await;
    let doors = vec![("http", Door::http(realm.front())), ("grpc", Door::grpc(realm.front()))];
    live_through(doors, &realm, &issuer).await;
}

#[tokio::test]
async fn a_client_lives_over_tls_in_either_http_and_grpc_with_every_kind_of_token() {
    let issuer = Issuer::new();
    let (certificate, key) = certificate();
    let tls = Some((certificate.clone(), key));
    let realm = OneMember::start(Setting { tls, ..plain(&issuer) }).await;
    let front = realm.front();
    let doors = vec![
        ("https 1.1", Door::https(front, &certificate, Version::HTTP_11)),
        ("https 2", Door::https(front, &certificate, Version::HTTP_2)),
        ("grpc tls", Door::grpc_tls(front, &certificate)),
    ];
    live_through(doors, &realm, &issuer).await;
}

#[tokio::test]
async fn a_user_is_a_tenant_and_a_name_whatever_key_signed_and_a_token_of_another_key_is_refused() {
    let issuer = Issuer::new();
    let realm = OneMember::start(plain(&issuer)).await;
    let (id, key, door) = (realm.realm.realm, realm.realm.public_key, Door::http(realm.front()));
    let user = |token| User::new(door.clone(), id, key, token, 1);
    user(issuer.token("acme:1", "ada", &id)).register("4821", SECRET, 3).await;
    let mut same = user(issuer.token("acme:3", "ada", &id));
    assert_eq!(same.recover("4821").await, Recovered::Secret(SECRET.into()));
    let mut other = user(issuer.token("acme:1", "eve", &id));
    assert_eq!(other.recover("4821").await, Recovered::NotRegistered);
    // The head of one token on the signature of another.
    let (one, two) = (issuer.token("acme:1", "ada", &id), issuer.token("acme:2", "ada", &id));
    let head = one.rsplit_once('.').expect("three parts").0;
    let forged = format!("{head}.{}", two.rsplit_once('.').expect("three parts").1);
    let refused = user(forged).attempt(&SecretsRequest::Recover1).await;
    assert_eq!(refused.unwrap_err(), ClientResponse::InvalidAuth);
    let elsewhere = issuer.token("acme:1", "ada", &strongroom_proto::ids::RealmId([1; 16]));
    let refused = user(elsewhere).attempt(&SecretsRequest::Recover1).await;
    assert_eq!(refused.unwrap_err(), ClientResponse::InvalidAuth);
}

/// A whole realm, and the front doors of its members, the leader's first.
async fn three_members(folder: &std::path::Path, issuer: &Issuer) -> (LocalRealm, Vec<SocketAddr>) {
    std::fs::write(folder.join("tenants.toml"), issuer.tenants_toml()).expect("writable");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let patient = strongroom_sim::local::Setting::patient();
    let local = LocalRealm::start_with(folder, any, patient).expect("starts");
    local.make_whole().await.expect("three new HSMs");
    let leader = local.leader(None).await.expect("one leads");
    let mut fronts = Vec::new();
    for i in 0..MEMBERS {
        let configuration: Configuration =
            local.configuration((leader + i) % MEMBERS).await.expect("a realm").parse().expect("usable");
        let address = configuration.realms()[0].address().socket_addrs(|| None).expect("an address");
        fronts.extend(address);
    }
    (local, fronts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_lives_at_the_leader_and_at_a_witness_and_a_session_goes_through_either() {
    let (issuer, folder) = (Issuer::new(), tempfile::tempdir().expect("a folder"));
    let (local, fronts) = three_members(folder.path(), &issuer).await;
    assert_eq!(fronts.len(), MEMBERS);
    let status = local.device(0).await.expect("it answers").realm.expect("a realm");
    let user = |door: Door, name: &str| {
        let token = issuer.token("acme:2", name, &status.realm);
        User::new(door, status.realm, status.public_key, token, 7)
    };
    for (i, front) in fronts.iter().enumerate() {
        live(user(Door::http(*front), &format!("http {i}"))).await;
        live(user(Door::grpc(*front), &format!("grpc {i}"))).await;
    }
    // One session through all members in turn, so that every message except the leader's is forwarded.
    let mut roaming = user(Door::http(fronts[0]), "roaming");
    roaming.register("4821", SECRET, 3).await;
    for front in fronts.iter().cycle().take(6) {
        roaming.door = Door::http(*front);
        let answer = roaming.attempt(&SecretsRequest::Recover1).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert_eq!(roaming.recover("4821").await, Recovered::Secret(SECRET.into()));
    local.shutdown().await;
}

/// The SDK's view of three realms: 2 are needed to recover, and all to register.
fn sdk(realms: &[OneMember], issuer: &Issuer, certificate: &str, user: &str) -> Client {
    let entry = |realm: &OneMember| {
        json!({
            "id": realm.realm.realm.to_string(),
            "address": format!("https://{}/", realm.front()),
            "public_key": realm.realm.public_key.to_string(),
        })
    };
    let configuration = json!({
        "realms": realms.iter().map(entry).collect::<Vec<_>>(),
        "register_threshold": 3,
        "recover_threshold": 2,
        "pin_hashing_mode": "Standard2019",
    });
    let configuration: Configuration = configuration.to_string().parse().expect("usable");
    let kids = Issuer::KIDS.iter().zip(realms);
    let tokens = kids.map(|(kid, realm)| (realm.realm.realm, issuer.token(kid, user, &realm.realm.realm)));
    let transport = Https::with_root_certificates(certificate.as_bytes()).expect("a certificate");
    // A realm that is down here stays down.
    let policy = RetryPolicy { patience: Duration::from_secs(1), ..RetryPolicy::default() };
    let client = Client::builder(configuration, FixedTokens::from_iter(tokens)).retry_policy(policy);
    client.build_with(transport)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_of_three_realms_down_wrong_pins_count_and_the_right_one_recovers() {
    let issuer = Issuer::new();
    let (certificate, key) = certificate();
    let mut realms = Vec::new();
    for _ in 0..3 {
        let tls = Some((certificate.clone(), key.clone()));
        realms.push(OneMember::start(Setting { tls, ..plain(&issuer) }).await);
    }
    let (ada, eve) = (sdk(&realms, &issuer, &certificate, "ada"), sdk(&realms, &issuer, &certificate, "eve"));
    let (pin, wrong) = (Pin::from("4821"), Pin::from("1234"));
    let (secret, guesses) = (UserSecret::new(SECRET).expect("short"), NonZeroU8::new(3).expect("not 0"));
    for client in [&ada, &eve] {
        client.register(&pin, &secret, b"info", guesses).await.expect("all three are there");
    }
    let guess = async |client: &Client, pin: &Pin| match client.recover(pin, b"info").await {
        Ok(secret) => Ok(secret.as_bytes().to_vec()),
        Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining }, .. }) => Err(guesses_remaining),
        Err(other) => panic!("{other:?}"),
    };

    realms.remove(1).kill().await;
    assert_eq!(guess(&ada, &wrong).await, Err(2));
    assert_eq!(guess(&ada, &wrong).await, Err(1));
    assert_eq!(guess(&ada, &pin).await, Ok(SECRET.to_vec()));
    for guesses_remaining in [2, 1, 0] {
        assert_eq!(guess(&eve, &wrong).await, Err(guesses_remaining));
    }
    assert_eq!(guess(&eve, &pin).await, Err(0));
    let short = ada.register(&pin, &secret, b"info", guesses).await;
    assert!(matches!(short, Err(Error { kind: ErrorKind::Unavailable { .. }, .. })), "{short:?}");

    realms.remove(0).kill().await;
    let alone = ada.recover(&pin, b"info").await;
    assert!(matches!(alone, Err(Error { kind: ErrorKind::Unavailable { .. }, .. })), "{alone:?}");
}
