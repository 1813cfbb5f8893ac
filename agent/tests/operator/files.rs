//! Files that an operator writes: they are understood, and mistakes are explained without showing secrets.

use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_agent::config::{Config, Cors, Election, HsmAddress, Limits, UsageWriting};
use strongroom_agent::tenants::{Algorithm, TenantKeys, Tenants, TestTenants};
use strongroom_agent::tls::Tls;

const SMALLEST: &str = "hsm = \"tcp:[::1]:9000\"\nstore = \"memory://\"\ntenants = \"tenants.toml\"\n";

fn config(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("/etc/strongroom/agent.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn the_example_is_a_configuration_that_states_the_defaults() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agent.example.toml"));
    let example = Config::open(path).expect("usable");
    let folder = path.parent().expect("it has one");
    let smallest = config(SMALLEST).expect("usable");
    assert_eq!((example.listen, example.peer_listen), (smallest.listen, smallest.peer_listen));
    assert_eq!((&example.limits, &example.election), (&Limits::default(), &Election::default()));
    assert_eq!((&smallest.limits, &smallest.election), (&Limits::default(), &Election::default()));
    assert_eq!(example.storage, smallest.storage);
    assert_eq!((&example.cors, &smallest.cors), (&Cors::default(), &Cors::default()));
    assert_eq!((example.usage, smallest.usage), (UsageWriting::default(), UsageWriting::default()));
    assert_eq!((example.peers.len(), example.fronts.len()), (2, 2));
    assert!(example.discover && example.peer_announce.is_some());
    assert_eq!(example.fronts_ca, Some(folder.join("tls/ca.pem")));
    assert_eq!(
        (&example.admin_socket, example.peer_epoch),
        (&folder.join("agent.sock"), smallest.peer_epoch)
    );
    assert_eq!(example.hsm, HsmAddress::Unix(folder.join("hsm.sock")));
    assert_eq!(example.store.scheme(), "file");
    assert_eq!(example.tenants, folder.join("tenants.toml"));
    assert_eq!(example.tls.expect("it has TLS").certificate, folder.join("tls/certificate.pem"));
}

#[test]
fn the_smallest_configuration_is_complete() {
    let config = config(SMALLEST).expect("usable");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8700");
    assert_eq!(config.peer_listen.to_string(), "127.0.0.1:8701");
    assert_eq!(config.hsm, HsmAddress::Tcp("[::1]:9000".into()));
    assert_eq!(config.tenants, PathBuf::from("/etc/strongroom/tenants.toml"));
    assert_eq!(config.admin_socket, PathBuf::from("/etc/strongroom/agent.sock"));
    assert_eq!(config.peer_epoch, 0);
    assert_eq!(config.election.timeout_max, Duration::from_millis(300));
    assert!(config.fronts.is_empty() && config.fronts_ca.is_none() && config.discover);
    assert!(config.tls.is_none() && config.peers.is_empty() && config.store_options.0.is_empty());
}

#[test]
fn an_agent_announces_where_it_listens_unless_that_is_everywhere_or_it_is_told_better() {
    let announced = |line: &str, bound: &str| {
        let config = config(&format!("{SMALLEST}{line}\n")).expect("usable");
        config.announced(bound.parse().expect("an address")).map(|address| address.0.to_string())
    };
    assert_eq!(announced("", "10.0.0.1:8701").as_deref(), Some("https://10.0.0.1:8701/"));
    assert_eq!(announced("", "[fd00::1]:8701").as_deref(), Some("https://[fd00::1]:8701/"));
    assert_eq!((announced("", "0.0.0.0:8701"), announced("", "[::]:8701")), (None, None));
    let told = "peer_announce = \"https://host1.example:9\"";
    assert_eq!(announced(told, "0.0.0.0:8701").as_deref(), Some("https://host1.example:9/"));
    assert_eq!(announced(told, "10.0.0.1:8701").as_deref(), Some("https://host1.example:9/"));
}

#[test]
fn mistakes_in_a_configuration_are_named_with_their_line() {
    let with = |line: &str| config(&format!("{SMALLEST}{line}\n")).expect_err(line);
    let file = "/etc/strongroom/agent.toml, line";
    for (text, expected) in [
        ("peers = [\"10.0.0.2:8701\"]", "4: a peer is `https://host:port`"),
        ("peers = [\"http://10.0.0.2:8701\"]", "4: a peer is `https://host:port`"),
        ("peers = [\"https://10.0.0.2:8701/x\"]", "4: a peer is `https://host:port`"),
        ("peers = [\"https://:word@10.0.0.2:8701\"]", "4: a peer is `https://host:port`"),
        ("peer_announce = \"10.0.0.2:8701\"", "4: a peer is `https://host:port`"),
        ("fronts = [\"10.0.0.2:8700\"]", "4: each of `fronts` is `https://host:port/`"),
        ("fronts = [\"http://10.0.0.2:8700/\"]", "4: each of `fronts` is `https://host:port/`"),
        ("fronts = [\"https://10.0.0.2:8700/x\"]", "4: each of `fronts` is `https://host:port/`"),
        ("fronts = [\"https://me:word@10.0.0.2/\"]", "4: each of `fronts` is `https://host:port/`"),
        ("peer = []", "4: unknown field `peer`"),
        ("listen = 8700", "4: invalid type"),
        ("[limits]\nrequests_per_second = 0", "5: invalid value"),
        ("[limits]\nguess_delay_s = 3601", "guess_delay_s is at most guess_delay_max_s"),
        ("[limits]\nguess_delay_max_s = 0", "5: invalid value"),
        ("[election]\nheartbeat_ms = 100", "heartbeat_ms is at least 1 and at most half of timeout_min_ms"),
        ("[election]\ntimeout_max_ms = 150", "timeout_max_ms is greater than timeout_min_ms"),
        ("[tls]\ncertificate = \"c.pem\"", "missing field `key`"),
        ("a b", "4: "),
        ("[store_options]\naws_secret_access_key = 123456", "put it in quotes"),
    ] {
        let error = with(text);
        assert!(error.starts_with(file) && error.contains(expected), "{text}: {error}");
    }
    for (from, to, expected) in [
        ("tcp:[::1]:9000", "localhost:9000", "1: the HSM is `unix:PATH` or `tcp:HOST:PORT`"),
        ("tcp:[::1]:9000", "tcp:localhost", "1: the HSM is `unix:PATH` or `tcp:HOST:PORT`"),
        ("memory://", "/var/lib/store", "2: the store is a URL, such as `file:///var/lib/strongroom/store`"),
        ("memory://", "file:store", "2: cannot use this file: URL as a store; write it as file:///var/lib"),
        ("memory://", "file:/store", "2: cannot use this file: URL as a store; write it as file:///var/lib"),
        ("memory://", "file://store", "2: cannot use this file: URL as a store; write it as file:///var/lib"),
        ("memory://", "s3:///x", "2: cannot use this s3: URL as a store; write it as s3://my-bucket/realm"),
        ("memory://", "s3://b//x", "2: cannot use this s3: URL as a store; write it as s3://my-bucket/realm"),
        (
            "memory://",
            "s3://b/x//",
            "2: cannot use this s3: URL as a store; write it as s3://my-bucket/realm",
        ),
        (
            "memory://",
            "s3://b/x?y=z",
            "2: cannot use this s3: URL as a store; write it as s3://my-bucket/realm",
        ),
        (
            "memory://",
            "s3://key:word@b/x",
            "2: cannot use this s3: URL as a store; write it as s3://my-bucket/realm",
        ),
        (
            "memory://",
            "az://b//x",
            "2: cannot use this az: URL as a store; write it as az://my-container/realm",
        ),
        (
            "memory://",
            "az:///x",
            "2: cannot use this az: URL as a store; write it as az://my-container/realm",
        ),
    ] {
        let error = config(&SMALLEST.replace(from, to)).expect_err(to);
        assert!(error.starts_with(file) && error.contains(expected), "{to}: {error}");
    }
    let missing = Config::open(Path::new("/nowhere/agent.toml")).expect_err("no such file").to_string();
    assert!(missing.starts_with("cannot read /nowhere/agent.toml: "), "{missing}");
}

fn tenant(name: &str, version: &str, algorithm: &str, key: &str) -> String {
    format!(
        "[[tenant]]\nname = \"{name}\"\nversion = {version}\nalgorithm = \"{algorithm}\"\nkey = '''{key}'''\n"
    )
}

fn tenants(text: &str) -> Result<TenantKeys, String> {
    let parsed = TenantKeys::parse(Path::new("tenants.toml"), text, TestTenants::Allowed);
    parsed.map_err(|error| error.to_string())
}

/// Hexadecimal that appears nowhere else in an error.
const SECRET: &str = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
const ED25519_DER: &str =
    "302a300506032b65700321005491cad2bdf94ff1345f5e5b2e105f1c88d1a41791e83b5dfcc40e32893a6e50";
const ED25519_PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAVJHK0r35T/E0X15bLhBfHIjRpBeR6Dtd/MQOMok6blA=
-----END PUBLIC KEY-----
";

#[test]
fn keys_are_given_in_hexadecimal_or_pem() {
    let text = [
        tenant("acme", "1", "HS256", SECRET),
        tenant("acme", "\"18446744073709551615\"", "EdDSA", ED25519_DER),
        tenant("test-acme", "0", "EdDSA", ED25519_PEM),
        tenant("test-acme", "1", "HS256", SECRET),
    ]
    .concat();
    let keys = tenants(&text).expect("usable");
    let algorithm = |tenant: &str, version| keys.key(tenant, version).map(|key| key.algorithm());
    assert_eq!(algorithm("acme", 1), Some(Algorithm::Hs256));
    assert_eq!(algorithm("acme", u64::MAX), Some(Algorithm::EdDsa));
    assert_eq!(algorithm("test-acme", 0), Some(Algorithm::EdDsa));
    assert_eq!((algorithm("acme", 2), algorithm("nobody", 1)), (None, None));
}

#[test]
fn mistakes_in_a_tenants_file_are_explained_with_their_line() {
    let rsa_1024 = include_str!("../support/rsa1024.pem");
    let rsa_4104 = include_str!("../support/rsa4104.pem");
    let identity = format!("302a300506032b657003210001{}", "00".repeat(31));
    let private = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n";
    let first = tenant("acme", "1", "HS256", SECRET);
    for (text, line, expected) in [
        (tenant("acme", "1", "HS256", &SECRET[..62]), 1, "shorter than 32 bytes"),
        (tenant("acme", "7", "HS256", "00"), 1, "tenant acme, version 7: the HS256 secret is shorter"),
        (tenant("test-acme", "1", "HS256", &SECRET[..62]), 1, "shorter than 32 bytes"),
        (tenant("test-acme", "1", "HS256", ""), 1, "shorter than 32 bytes"),
        (tenant("acme", "1", "HS256", "not hexadecimal"), 1, "openssl rand -hex 32"),
        (tenant("acme", "1", "HS256", ED25519_PEM), 1, "HS256 takes a shared secret in hexadecimal"),
        (tenant("acme", "1", "RS256", ED25519_PEM), 1, "not an RSA public key"),
        (tenant("acme", "1", "EdDSA", rsa_1024), 1, "not an Ed25519 public key"),
        (tenant("acme", "1", "RS256", rsa_1024), 1, "an RSA key under 2,048 bits can be broken"),
        (
            tenant("acme", "1", "RS256", rsa_4104),
            1,
            "an RSA key over 4,096 bits makes each token, good or not",
        ),
        (tenant("acme", "1", "EdDSA", &identity), 1, "damaged or weak"),
        (tenant("acme", "1", "EdDSA", private), 1, "this is a private key"),
        (tenant("acme", "1", "EdDSA", &ED25519_DER[2..]), 1, "not an Ed25519 public key"),
        (tenant("acme", "1", "none", SECRET), 1, "the algorithm is \"HS256\", \"RS256\" or \"EdDSA\""),
        (tenant("acme", "-1", "HS256", SECRET), 3, "a whole number"),
        (tenant("acme", "\"+ 1\"", "HS256", SECRET), 1, "a whole number from 0"),
        (tenant("test-", "1", "HS256", SECRET), 1, "letters and digits"),
        (tenant("a:b", "1", "HS256", SECRET), 1, "letters and digits"),
        (format!("{first}\n{first}"), 7, "two keys of version 1"),
        (format!("{first}\n[[tenants]]\n"), 7, "unknown field `tenants`"),
    ] {
        let error = tenants(&text).expect_err(expected);
        assert!(error.starts_with(&format!("tenants.toml, line {line}: ")), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn tenants_for_tests_are_let_in_only_if_the_configuration_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tenants.toml");
    let text = [tenant("acme", "1", "HS256", SECRET), tenant("test-acme", "3", "HS256", SECRET)].concat();
    std::fs::write(&path, &text).expect("writable");
    let smallest = config(SMALLEST).expect("usable");
    let error = match Tenants::open(path.clone(), smallest.test_tenants()) {
        Ok(_) => panic!("refused by default"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("tenants.toml, line 6: tenant test-acme, version 3: "), "{error}");
    assert!(error.contains("allow_test_tenants = true"), "{error}");
    let allowing = config(&format!("allow_test_tenants = true\n{SMALLEST}")).expect("usable");
    let tenants = Tenants::open(path.clone(), allowing.test_tenants()).expect("allowed");
    assert!(tenants.current().key("test-acme", 3).is_some());

    std::fs::write(&path, &text[..text.find("[[tenant]]\nname = \"test").expect("there")]).expect("writable");
    let tenants = Tenants::open(path.clone(), smallest.test_tenants()).expect("usable");
    std::fs::write(&path, &text).expect("writable");
    let error = tenants.reload_if_changed().expect_err("refused on reading again too").to_string();
    assert!(error.contains("tenant test-acme, version 3"), "{error}");
    assert!(tenants.current().key("acme", 1).is_some() && tenants.current().key("test-acme", 3).is_none());
}

#[test]
fn no_mistake_makes_a_secret_show() {
    let number = "1".repeat(18);
    for text in [
        tenant("acme", "1", "HS256", &format!("{SECRET}x")),
        tenant("acme", "1", SECRET, SECRET),
        tenant("acme", &format!("\"{SECRET}\""), "HS256", ""),
        format!("[[tenant]]\nname = \"acme\"\nversion = 1\nalgorithm = \"HS256\"\nkey = {SECRET}\n"),
        format!("[[tenant]]\nname = \"acme\"\nversion = 1\nalgorithm = \"HS256\"\nkey = \"{SECRET}\n"),
        format!("[[tenant]]\nname = \"acme\"\nversion = 1\nalgorithm = \"HS256\"\nkey = [\"{SECRET}\"]\n"),
        format!("[[tenant]]\nname = \"acme\"\nversion = 1\nalgorithm = \"HS256\"\nkey = {number}\n"),
        format!("[[tenant]]\nname = \"acme\"\nalgorithm = \"HS256\"\nkey = \"{SECRET}\"\n"),
    ] {
        let error = tenants(&text).expect_err("a mistake");
        assert!(!error.contains("c0ffee") && !error.contains(&number), "{error}");
    }
    let keys = tenants(&tenant("acme", "1", "HS256", SECRET)).expect("usable");
    assert!(!format!("{keys:?}").contains("c0ffee"));
    let store = format!("{SMALLEST}[store_options]\nsecret_access_key = \"{SECRET}\"\n");
    assert!(!format!("{:?}", config(&store).expect("usable")).contains("c0ffee"));
    for mistake in [
        format!("[store_options]\nsecret_access_key = \"{SECRET}\n"),
        format!("[store_options]\nsecret_access_key = [\"{SECRET}\"]\n"),
        format!("[store_options]\nsecret_access_key = {number}\n"),
        format!("[limits]\nmax_connections = \"{SECRET}\"\n"),
        format!("[tls]\ncertificate = {number}\nkey = \"k\"\n"),
        format!("peer_epoch = \"{SECRET}\"\n"),
        format!("peer_epoch = {number}\n"),
        format!("listen = \"{SECRET}\"\n"),
        format!("store_options = \"{SECRET}\"\n"),
    ] {
        let error = config(&format!("{SMALLEST}{mistake}")).expect_err("a mistake");
        assert!(!error.contains("c0ffee") && !error.contains(&number), "{error}");
    }
    let yes = config(&format!("{SMALLEST}[store_options]\nallow_http = true\n")).expect("as TOML has it");
    assert_eq!(yes.store_options.0["allow_http"], "true");
}

#[test]
fn mistakes_in_tls_files_are_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path
    };
    let made = || rcgen::generate_simple_self_signed(["realm.example".to_owned()]).expect("a certificate");
    let (one, other) = (made(), made());
    let certificate = path("certificate.pem", &one.cert.pem());
    let key = path("key.pem", &one.signing_key.serialize_pem());
    let error = |certificate: &PathBuf, key: &PathBuf| match Tls::open(certificate.clone(), key.clone()) {
        Ok(_) => panic!("usable"),
        Err(error) => error.to_string(),
    };
    assert!(Tls::open(certificate.clone(), key.clone()).is_ok());
    assert!(error(&key, &key).contains("key.pem: no PEM certificate"));
    assert!(error(&certificate, &certificate).contains("certificate.pem: no PEM private key"));
    let wrong = path("other.pem", &other.signing_key.serialize_pem());
    assert!(error(&certificate, &wrong).contains("cannot be used with its key"));
    assert!(error(&folder.path().join("none.pem"), &key).starts_with("cannot read "));
    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMC4=\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMC4=\n\
         -----END RSA PRIVATE KEY-----\n",
    ] {
        let encrypted = path("encrypted.pem", encrypted);
        let error = error(&certificate, &encrypted);
        assert!(error.contains("encrypted.pem: the private key is encrypted"), "{error}");
    }
    let p_521 = error(&certificate, &path("p521.pem", include_str!("../support/p521.pem")));
    assert!(p_521.contains("p521.pem: the key is on the curve P-521"), "{p_521}");
}

#[test]
fn an_expired_certificate_is_named_and_does_not_replace_a_good_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    let pair = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(&key, pair.serialize_pem()).expect("writable");
    let end_in = |year: i32| {
        let mut parameters = rcgen::CertificateParams::new(["realm.example".to_owned()]).expect("a name");
        parameters.not_after = rcgen::date_time_ymd(year, 2, 3);
        std::fs::write(&certificate, parameters.self_signed(&pair).expect("a certificate").pem())
            .expect("writable");
    };
    for (good, expired, named) in [(2049, 2021, "2021-02-03"), (2999, 1999, "1999-02-03")] {
        end_in(good);
        let tls = Tls::open(certificate.clone(), key.clone()).expect("usable");
        assert!(!tls.reload_if_changed().expect("usable"));
        end_in(expired);
        let error = tls.reload_if_changed().expect_err("expired").to_string();
        assert!(
            error.contains("certificate.pem: the certificate expired at") && error.contains(named),
            "{error}"
        );
        assert!(Tls::open(certificate.clone(), key.clone()).is_ok(), "an agent starts anyway, and says so");
        end_in(good);
        tls.reload().expect("usable again");
    }
}

#[test]
fn a_byte_order_mark_at_the_start_of_a_file_is_skipped() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("\u{feff}{text}")).expect("writable");
        path
    };
    assert!(Config::open(&path("agent.toml", SMALLEST)).is_ok());
    let text = [
        tenant("acme", "1", "HS256", SECRET),
        tenant("acme", "2", "EdDSA", &format!("\u{feff}{ED25519_PEM}")),
    ];
    let tenants = Tenants::open(path("tenants.toml", &text.concat()), TestTenants::Refused).expect("usable");
    assert!(tenants.current().key("acme", 2).is_some());
    let made = rcgen::generate_simple_self_signed(["realm.example".to_owned()]).expect("a certificate");
    let (certificate, key) =
        (path("c.pem", &made.cert.pem()), path("k.pem", &made.signing_key.serialize_pem()));
    assert!(Tls::open(certificate, key).is_ok());
}
