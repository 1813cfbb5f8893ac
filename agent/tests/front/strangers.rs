//! Who gets no further than the handshake at the peer address, and who may call what once inside.
//!
//! Each attack uses a connection that is made the same way as a rightful one, which is shown to work next to it.

use crate::bare::{
    Bare, REALM, channel, config, identity, peer_url, peers, secret, serve, start, until, who,
};
use object_store::memory::InMemory;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use strongroom_agent::admin::{AdminError, Client};
use strongroom_agent::clock::system_clock;
use strongroom_agent::daemon::{Agent, AgentHandle, Sockets, Time};
use strongroom_agent::grpc::peer::admin_client::AdminClient;
use strongroom_agent::grpc::peer::peer_client::PeerClient;
use strongroom_agent::grpc::peer::{
    CertifyRequest, DeliverRequest, ForwardRequest, HelloRequest, InviteRequest, SetupRequest, StatusRequest,
};
use strongroom_agent::peers::{Forwarded, Who, issue_operator, open_operator};
use strongroom_agent::store::Store;
use strongroom_agent::traces::{RequestId, Trail};
use strongroom_proto::enrolment::RealmPolicy;
use strongroom_proto::hsm::{BatchRequest, DeviceStatus, GroupStatus, NoiseMessage, Request, Role};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, HsmId, Index, RealmId, RecordId, SessionId, Term};
use strongroom_proto::statement::GroupStatement;
use strongroom_replica::peer::PeerMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsConnector;
use tonic::Code;

const DAY_S: i64 = 24 * 60 * 60;

/// Accepts any server as the right one, as an attacker does.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What an agent of this name with a certificate of this age presents to everyone.
fn shown(who: Who, age_s: i64) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&identity(who, age_s).client());
    config.dangerous().set_certificate_verifier(Arc::new(Anyone));
    Arc::new(config)
}

fn stranger(
    certificate: Option<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>)>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = match certificate {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key.into()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// The name in the certificate of an agent.
fn name(who: Who) -> String {
    format!("{}.{}.agent.strongroom.invalid", hex::encode(who.hsm.0), hex::encode(who.realm.0))
}

fn self_signed(who: Who) -> Arc<ClientConfig> {
    let made = rcgen::generate_simple_self_signed([name(who)]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    stranger(Some((made.cert.der().clone(), key)))
}

/// What an operator presents, and the file that it came from.
fn operator(folder: &Path, epoch: u32) -> Arc<ClientConfig> {
    let who = Who { epoch, ..who(1) };
    let secrets: Vec<_> = who.epochs().into_iter().map(|epoch| secret(REALM, epoch)).collect();
    let pem = issue_operator(who, &secrets, &system_clock(), 8).unwrap();
    let path = folder.join(format!("operator-{epoch}.pem"));
    std::fs::write(&path, &*pem).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    open_operator(&path, system_clock()).unwrap()
}

fn peer(agent: &AgentHandle, tls: Arc<ClientConfig>) -> PeerClient<tonic::transport::Channel> {
    PeerClient::new(channel(agent.addresses().peer, tls))
}

/// Whether the peer service answers a caller that presents this.
async fn is_known(agent: &AgentHandle, tls: Arc<ClientConfig>) -> bool {
    peer(agent, tls).hello(HelloRequest {}).await.is_ok()
}

/// An agent that others already know.
async fn known(folder: &Path) -> (AgentHandle, Arc<Bare>) {
    let hsm = Bare::new(1);
    let agent = start(folder, std::slice::from_ref(&hsm)).pop().unwrap();
    until("the agent is known", async || is_known(&agent, shown(who(2), 0)).await.then_some(())).await;
    (agent, hsm)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_connection_whatever_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let agent = counting(folder.path()).await;
    let before = refused(&agent, "Handshake").await;
    let elsewhere = Who { realm: RealmId([6; 16]), ..who(2) };
    for (what, tls) in [
        ("no certificate", stranger(None)),
        ("a certificate that it signed itself", self_signed(who(2))),
        ("a certificate of another realm", shown(elsewhere, 0)),
        ("a certificate of an epoch that is not used", shown(Who { epoch: 2, ..who(2) }, 0)),
        ("a certificate that has ended", shown(who(2), DAY_S + 60)),
        ("a certificate that has not begun", shown(who(2), -DAY_S - 60)),
    ] {
        assert!(!is_known(&agent, tls).await, "{what}");
    }
    for (what, tls) in [
        ("of the next epoch", shown(Who { epoch: 1, ..who(2) }, 0)),
        ("that soon ends", shown(who(2), DAY_S - 600)),
        ("of a clock that is ahead", shown(who(2), -DAY_S + 600)),
    ] {
        assert!(is_known(&agent, tls).await, "a certificate {what}");
    }
    let address = agent.addresses().peer;
    let mut plain = PeerClient::new(
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy(),
    );
    assert!(plain.hello(HelloRequest {}).await.is_err(), "without TLS");
    let mut plain = AdminClient::new(
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy(),
    );
    assert!(plain.status(StatusRequest {}).await.is_err(), "without TLS");
    let all = async || (refused(&agent, "Handshake").await >= before + 8).then_some(());
    until("all are counted", all).await;
}

/// An agent that others already know, and that reports what it counts.
async fn counting(folder: &Path) -> AgentHandle {
    let mut config = config(folder, "agent");
    config.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    let agent = Agent::start(config, Bare::new(1), Store::on(Arc::new(InMemory::new()))).unwrap();
    until("the agent is known", async || is_known(&agent, shown(who(2), 0)).await.then_some(())).await;
    agent
}

/// How many connections an agent counts as refused for this reason.
async fn refused(agent: &AgentHandle, reason: &str) -> u64 {
    let mut stream = tokio::net::TcpStream::connect(agent.addresses().metrics.unwrap()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let line = format!("strongroom_peer_connections_refused_total{{reason=\"{reason}\"}} ");
    page.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_another_agent_signed_with_its_own_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, _) = known(folder.path()).await;
    // A valid certificate, and below it one that its key signed: only the authority may issue.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new([name(who(2))]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let authority = ed25519_key(&secret(REALM, 0).authority_key(&REALM));
    let mut top = rcgen::CertificateParams::default();
    top.distinguished_name = rcgen::DistinguishedName::new();
    top.distinguished_name.push(rcgen::DnType::OrganizationName, format!("Strongroom realm {REALM}"));
    top.distinguished_name.push(rcgen::DnType::CommonName, "agents, epoch 0");
    let issuer = rcgen::Issuer::new(top, authority);
    let right = params.signed_by(&key, &issuer).unwrap();
    let lower_key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let lower = params.signed_by(&lower_key, &rcgen::Issuer::new(params.clone(), &key)).unwrap();
    let der = |key: &rcgen::KeyPair| PrivatePkcs8KeyDer::from(key.serialize_der());
    assert!(
        is_known(&agent, stranger(Some((right.der().clone(), der(&key))))).await,
        "made as agents make it"
    );
    let chain = vec![lower.der().clone(), right.der().clone()];
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_auth_cert(chain, der(&lower_key).into())
        .unwrap();
    assert!(!is_known(&agent, Arc::new(config)).await);
    // The authority also signs other names for anyone who has its key; such a certificate speaks for nobody.
    let elsewhere = name(Who { realm: RealmId([6; 16]), ..who(2) });
    for other in ["agent.strongroom.invalid", &elsewhere] {
        params.subject_alt_names = vec![rcgen::SanType::DnsName(other.try_into().unwrap())];
        let nobody = params.signed_by(&key, &issuer).unwrap();
        assert!(!is_known(&agent, stranger(Some((nobody.der().clone(), der(&key))))).await, "{other}");
    }
}

fn ed25519_key(seed: &[u8; 32]) -> rcgen::KeyPair {
    // PKCS#8 of an Ed25519 key (RFC 8410, section 7).
    let der = [&hex::decode("302e020100300506032b657004220420").unwrap()[..], seed].concat();
    rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &rcgen::PKCS_ED25519)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_counts_only_from_the_hsm_in_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, _) = known(folder.path()).await;
    let mut peer = peer(&agent, shown(who(2), 0));
    let message = PeerMessage::Heartbeat {
        group: GroupId([1; 16]),
        term: Term([2; 16]),
        newest: Index(7),
        snapshot: Index(0),
        silent_ms: 0,
    };
    let mut deliver = async |from: u8, to: u8| {
        let (from, to) = (vec![from; 16].into(), vec![to; 16].into());
        let message = message.to_bytes().into();
        let request = DeliverRequest { from, to, message, ..DeliverRequest::default() };
        let sent = peer.deliver(tokio_stream::once(request)).await;
        sent.map(|_| ()).map_err(|status| status.code())
    };
    assert_eq!(deliver(2, 1).await, Ok(()));
    assert_eq!(deliver(3, 1).await, Err(Code::PermissionDenied));
    assert_eq!(deliver(1, 1).await, Err(Code::PermissionDenied), "not even from itself");
    assert_eq!(deliver(2, 3).await, Err(Code::FailedPrecondition));

    // What is no message, perhaps one of a later version, does not keep those after it from being read.
    let [unread, misdirected] = [1, 3].map(|to| DeliverRequest {
        from: vec![2; 16].into(),
        to: vec![to; 16].into(),
        message: vec![0xff].into(),
        ..DeliverRequest::default()
    });
    assert!(peer.deliver(tokio_stream::once(unread.clone())).await.is_ok());
    let both = peer.deliver(tokio_stream::iter([unread, misdirected])).await;
    assert_eq!(both.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_not_operators_and_operators_are_not_agents() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, hsm) = known(folder.path()).await;
    let setup = |request: &Request| SetupRequest { request: minicbor::to_vec(request).unwrap().into() };
    let new_realm = Request::NewRealm(RealmPolicy::closed());
    let invite = || InviteRequest { to: vec![1; 16].into(), statement: vec![].into() };
    let address = agent.addresses().peer;

    let mut admin = AdminClient::new(channel(address, shown(who(2), 0)));
    let denied = |status: tonic::Status| assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    denied(admin.status(StatusRequest {}).await.unwrap_err());
    denied(admin.setup(setup(&new_realm)).await.unwrap_err());
    denied(admin.invite(invite()).await.unwrap_err());
    denied(admin.certify(CertifyRequest { hours: 8 }).await.unwrap_err());

    let tls = operator(folder.path(), 0);
    let mut peer = peer(&agent, Arc::clone(&tls));
    denied(peer.hello(HelloRequest {}).await.unwrap_err());
    denied(peer.status(StatusRequest {}).await.unwrap_err());
    denied(peer.invite(invite()).await.unwrap_err());
    denied(peer.deliver(tokio_stream::once(DeliverRequest::default())).await.unwrap_err());
    denied(peer.forward(tokio_stream::once(ForwardRequest::default())).await.unwrap_err());
    assert!(!hsm.asked.lock().unwrap().contains(&new_realm));

    let mut admin = AdminClient::new(channel(address, Arc::clone(&tls)));
    assert!(admin.setup(setup(&new_realm)).await.is_ok());
    assert!(hsm.asked.lock().unwrap().contains(&new_realm));
    denied(admin.certify(CertifyRequest { hours: 8 }).await.unwrap_err());
    let mut client = Client::connect_from_afar(&peer_url(address), tls).await.unwrap();
    assert_eq!(client.device().await.unwrap().hsm, HsmId([1; 16]));
    let ended = Client::connect_from_afar(&peer_url(address), operator(folder.path(), 2)).await;
    assert!(matches!(ended, Err(AdminError::UnreachableFromAfar { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_holds_the_record_id_key_or_the_secret_for_agents() {
    let folder = tempfile::tempdir().unwrap();
    let agents = start(folder.path(), &[Bare::new(1), Bare::new(2)]);
    let mut client = Client::connect(agents[0].admin_socket()).await.unwrap();
    let blank = |device: DeviceStatus| assert_eq!(device.realm.unwrap().record_id_key, Digest([0; 32]));
    blank(client.device().await.unwrap());
    blank(client.status().await.unwrap().device.unwrap());
    let seen = until("the peer answers", async || client.peers().await.unwrap().pop()?.agent?.device).await;
    assert_eq!(seen.hsm, HsmId([2; 16]));
    blank(seen);
    let mut peer = peer(&agents[0], shown(who(2), 0));
    let device = peer.status(StatusRequest {}).await.unwrap().into_inner().device;
    blank(minicbor::decode(&device).unwrap());
    let setup = SetupRequest { request: minicbor::to_vec(Request::AgentSecret(0)).unwrap().into() };
    let mut admin = AdminClient::new(channel(agents[0].addresses().peer, operator(folder.path(), 0)));
    assert_eq!(admin.setup(setup).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_address_opens_when_the_hsm_gets_a_realm_and_closes_when_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = Bare::saying(1, None);
    let agent = start(folder.path(), std::slice::from_ref(&hsm)).pop().unwrap();
    let mut operator = Client::connect(agent.admin_socket()).await.unwrap();
    assert!(operator.device().await.unwrap().realm.is_none());
    assert!(!is_known(&agent, shown(who(2), 0)).await);
    let certified = operator.certify(8).await.unwrap_err().to_string();
    assert!(certified.contains("no realm yet"), "{certified}");
    // Anything that may have changed the HSM makes the agent look at it.
    let mut look = async || drop(operator.new_realm(RealmPolicy::closed()).await);

    hsm.says.lock().unwrap().realm = Some(REALM);
    look().await;
    let mut open = peer(&agent, shown(who(2), 0));
    assert!(open.hello(HelloRequest {}).await.is_ok());
    let certificate = |name: u8| identity(who(name), 0).client();
    assert_eq!(end(&agent, certificate(2)).await, name(who(1)));

    hsm.says.lock().unwrap().hsm = HsmId([3; 16]);
    look().await;
    assert_eq!(end(&agent, certificate(2)).await, name(who(3)));
    // The old connection, made to another HSM, is gone: the next call goes through a new one.
    let to_the_new =
        DeliverRequest { from: vec![2; 16].into(), to: vec![3; 16].into(), ..DeliverRequest::default() };
    until("a new connection", async || match open.deliver(tokio_stream::once(to_the_new.clone())).await {
        // Its message is none, which ends nothing.
        Ok(_) => Some(()),
        Err(_) => None,
    })
    .await;

    hsm.says.lock().unwrap().realm = None;
    look().await;
    until("all are cut off", async || open.hello(HelloRequest {}).await.is_err().then_some(())).await;
    assert!(!is_known(&agent, shown(who(2), 0)).await);
}

/// The name in the certificate that an agent presents.
async fn end(agent: &AgentHandle, tls: Arc<ClientConfig>) -> String {
    let certificate = certificate(agent.addresses().peer, tls).await;
    let certificate = webpki::EndEntityCert::try_from(&certificate).unwrap();
    certificate.valid_dns_names().collect::<Vec<_>>().join(" ")
}

async fn certificate(address: SocketAddr, tls: Arc<ClientConfig>) -> CertificateDer<'static> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(tls).connect(address.ip().into(), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_before_it_ends_and_nothing_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = Bare::new(1);
    let clock = Arc::new(AtomicU64::new(system_clock()()));
    let unix = Arc::clone(&clock);
    let time = Time { unix: Arc::new(move || unix.load(Ordering::SeqCst)), ..Time::system() };
    let config = config(folder.path(), "agent");
    let sockets = Sockets::bind(&config).unwrap();
    let store = Store::on(Arc::new(InMemory::new()));
    let agent = Agent::start_at(sockets, config, hsm, store, time).unwrap();
    let mut operator = Client::connect(agent.admin_socket()).await.unwrap();
    let mut look = async || drop(operator.new_realm(RealmPolicy::closed()).await);
    let mut open = peer(&agent, shown(who(2), 0));
    look().await;
    assert!(open.hello(HelloRequest {}).await.is_ok());
    let see = async || certificate(agent.addresses().peer, shown(who(2), 0)).await;
    let first = see().await;
    clock.fetch_add(5 * 60 * 60, Ordering::SeqCst);
    look().await;
    assert_eq!(see().await, first, "not old yet");
    clock.fetch_add(2 * 60 * 60, Ordering::SeqCst);
    look().await;
    assert_ne!(see().await, first);
    // The same connection: by this clock, a new one would be refused.
    clock.fetch_add(2 * DAY_S.unsigned_abs(), Ordering::SeqCst);
    assert!(!is_known(&agent, shown(who(2), 0)).await);
    assert!(open.hello(HelloRequest {}).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_epoch_is_raised_at_one_agent_after_another_and_the_old_secret_is_then_worth_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::on(Arc::new(InMemory::new()));
    let start = |epoch: u32| {
        let mut config = config(folder.path(), &format!("epoch-{epoch}"));
        config.peer_epoch = epoch;
        Agent::start(config, Bare::new(1), store.clone()).unwrap()
    };
    for (own, takes, refuses) in
        [(0, vec![0, 1], vec![2, 3]), (1, vec![0, 1, 2], vec![3]), (2, vec![1, 2, 3], vec![0])]
    {
        let agent = start(own);
        let with = |epoch: u32| is_known(&agent, identity(Who { epoch, ..who(2) }, 0).client());
        until("the agent is known", async || with(own).await.then_some(())).await;
        for epoch in takes {
            assert!(with(epoch).await, "{epoch} at {own}");
        }
        for epoch in refuses {
            assert!(!with(epoch).await, "{epoch} at {own}");
            let there = peer_url(agent.addresses().peer);
            let asked =
                Client::connect_from_afar(&there, identity(Who { epoch, ..who(2) }, 0).client()).await;
            let why = asked.err().expect("not known").to_string();
            assert!(why.contains("`peer_epoch` differs"), "{why}");
            assert!(!is_known(&agent, shown(Who { epoch, ..who(2) }, 0)).await, "{epoch} at {own}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_shows_its_certificate_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, _) = known(folder.path()).await;
    let mut config = ClientConfig::clone(&shown(who(2), 0));
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    for _ in 0..3 {
        let address = agent.addresses().peer;
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::clone(&config));
        let mut stream = connector.connect(address.ip().into(), stream).await.unwrap();
        // What the service sends first comes after any session ticket.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

/// How many requests an agent forwards to a server with this TLS.
async fn forwarded_to(tls: Arc<rustls::ServerConfig>) -> (Forwarded, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shakes = Arc::new(Mutex::new(Vec::new()));
    let shaken = Arc::clone(&shakes);
    let server = tonic::transport::Server::builder().add_routes(tonic::service::Routes::default());
    tokio::spawn(serve(server, listener, tls, move |fine| shaken.lock().unwrap().push(fine)));
    let peers = peers(&[peer_url(address)]);
    until("it was tried", async || (shakes.lock().unwrap().len() > 2).then_some(())).await;
    let message = NoiseMessage::Transport { ciphertext: vec![1].into() };
    let request =
        BatchRequest { record: RecordId([7; 32]), session: SessionId(1), message, time: None }.into();
    let trail = Trail::unsampled(RequestId::new(1, 2));
    let outcome = peers.forward(HsmId([9; 16]), &request, &trail).await;
    let any = shakes.lock().unwrap().iter().any(|fine| *fine);
    (outcome, any)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_never_takes_a_stranger_for_a_peer() {
    let made = rcgen::generate_simple_self_signed([name(who(9))]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let own = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let elsewhere = Who { realm: RealmId([6; 16]), ..who(9) };
    for (what, tls) in [
        ("self-signed", Arc::new(own)),
        ("of another realm", identity(elsewhere, 0).server()),
        ("ended", identity(who(9), DAY_S + 60).server()),
    ] {
        assert_eq!(forwarded_to(tls).await, (Forwarded::NotSent, false), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_stall_keep_out_no_peer() {
    let folder = tempfile::tempdir().unwrap();
    let agent = counting(folder.path()).await;
    let mut stalled = Vec::new();
    for _ in 0..200 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        stalled.push(socket.connect(agent.addresses().peer).await.unwrap());
        assert!(stalled.len() % 50 != 0 || is_known(&agent, shown(who(2), 0)).await);
    }
    // What is too much from one address is refused unread.
    until("some are refused", async || (refused(&agent, "Busy").await > 0).then_some(())).await;
    assert!(is_known(&agent, shown(who(2), 0)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connections_of_one_peer_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, _) = known(folder.path()).await;
    let mut open = Vec::new();
    let refused = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let mut one = peer(&agent, shown(who(3), 0));
        if one.hello(HelloRequest {}).await.is_err() {
            refused.fetch_add(1, Ordering::SeqCst);
        }
        open.push(one);
    }
    assert_eq!(refused.load(Ordering::SeqCst), 4);
    assert!(is_known(&agent, shown(who(2), 0)).await, "another peer is not affected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_brings_an_hsm_into_half_as_many_groups_as_it_has_places_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, hsm) = known(folder.path()).await;
    let group =
        |id: u8| GroupStatement::new(&[2; 32], &REALM, GroupId([id; 16]), vec![HsmId([1; 16])], false);
    let mut operator = Client::connect(agent.admin_socket()).await.unwrap();
    for (joined, code) in [(7, None), (8, Some(Code::ResourceExhausted))] {
        let status = |id| GroupStatus {
            statement: group(id),
            role: Role::Witness,
            captured_index: Index(0),
            captured_hash: EntryHash([0; 32]),
        };
        hsm.says.lock().unwrap().groups = (1..=joined).map(status).collect();
        // The agent looks at its HSM.
        drop(operator.new_realm(RealmPolicy::closed()).await);
        let statement = minicbor::to_vec(group(99)).unwrap().into();
        let invited =
            peer(&agent, shown(who(2), 0)).invite(InviteRequest { to: vec![1; 16].into(), statement }).await;
        assert_eq!(invited.err().map(|status| status.code()), code, "with {joined} groups");
    }
    let asked = hsm.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|request| matches!(request, Request::JoinGroup(_))).count(), 1);
}

#[tokio::test]
async fn only_its_user_can_open_the_admin_socket_and_it_replaces_only_one_that_nothing_answers() {
    let folder = tempfile::tempdir().unwrap();
    let bind = |name: &str| Sockets::bind(&config(folder.path(), name)).map_err(|error| error.to_string());
    let path = folder.path().join("agent.sock");
    let first = bind("agent").unwrap();
    let there = std::fs::metadata(&path).unwrap();
    assert!(there.file_type().is_socket());
    assert_eq!(there.permissions().mode() & 0o777, 0o600);
    let running = bind("agent").unwrap_err();
    assert!(running.contains("another agent answers there"), "{running}");
    drop(first);
    assert!(!path.exists(), "an agent that fails to start leaves nothing behind");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind, as after a crash");
    assert!(bind("agent").is_ok());
    std::fs::write(folder.path().join("file.sock"), "").unwrap();
    let file = bind("file").unwrap_err();
    assert!(file.contains("something else is there"), "{file}");
    let long = bind(&"n".repeat(120)).unwrap_err();
    assert!(long.contains("bytes too long for a socket") && long.contains("admin_socket"), "{long}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".sr")), "{left:?}");
}

#[test]
fn an_operators_certificate_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    operator(folder.path(), 0);
    let path = folder.path().join("operator-0.pem");
    for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(open_operator(&path, system_clock()).is_ok(), fine, "{mode:o}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "nothing").unwrap();
    let other = open_operator(&path, system_clock()).err().unwrap().to_string();
    assert!(other.contains("admin-identity"), "{other}");
}
