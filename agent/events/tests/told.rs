//! Events as a tenant opens them: those that were sealed to it, of that entry, whole and unchanged, and nothing else.

mod support;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use strongroom_events::told::open;
use strongroom_events::{Tenant, TenantSecret, Told, Untellable, What};
use strongroom_proto::events::SealedEvents;
use strongroom_proto::ids::{Ed25519Public, Index, RealmId, X25519Public};
use support::{REALM, Sealing, TENANT, group, plain, secret, signer, tenant, tenant_with, told};

fn opened(sealed: &SealedEvents) -> Result<Vec<Told>, Untellable> {
    open(&tenant(), &REALM, (&group(2), Index(5)), sealed)
}

fn sealed(rng: &mut StdRng, plain: &[u8]) -> SealedEvents {
    Sealing::new(group(2), 5).seal(rng, plain)
}

#[test]
fn what_was_sealed_is_told() {
    let mut rng = StdRng::seed_from_u64(1);
    for round in 0..200 {
        let count = rng.random_range(0..20);
        let mut place = 0;
        let mut events = Vec::new();
        for number in 0..count {
            place += rng.random_range(1..5);
            events.push(told(&mut rng, place, number));
        }
        let sealed = sealed(&mut rng, &plain(&events));
        assert_eq!(opened(&sealed), Ok(events), "round {round}");
    }
    let names = ["", "Zoë", &"u".repeat(255)];
    for (user, what) in names.into_iter().zip([What::Registered, What::Erased, What::Nothing]) {
        let event =
            Told { after: 255, place: 255, what, guesses_left: 255, time: u64::MAX, user: user.into() };
        assert_eq!(opened(&sealed(&mut rng, &plain(std::slice::from_ref(&event)))), Ok(vec![event]));
    }
}

#[test]
fn no_byte_can_be_changed_left_out_or_added() {
    let mut rng = StdRng::seed_from_u64(2);
    let event = told(&mut rng, 0, 1);
    let good = sealed(&mut rng, &plain(&[event]));
    assert!(opened(&good).is_ok());
    for at in 0..32 {
        for bit in 0..8 {
            let mut wrong = good.clone();
            wrong.ephemeral.0[at] ^= 1 << bit;
            refused(&wrong, &format!("bit {bit} of byte {at} of the key"));
        }
    }
    for at in 0..good.sealed.len() {
        let mut wrong = good.clone();
        wrong.sealed[at] ^= 1 << rng.random_range(0..8);
        refused(&wrong, &format!("byte {at}"));
        wrong.sealed = good.sealed[..at].to_vec().into();
        refused(&wrong, &format!("{at} bytes"));
    }
    let mut wrong = good.clone();
    wrong.sealed.push(0);
    refused(&wrong, "one more");
    for at in 0..64 {
        let mut wrong = good.clone();
        wrong.signature[at] ^= 1 << rng.random_range(0..8);
        assert_eq!(opened(&wrong), Err(Untellable::Unsigned), "byte {at} of the signature");
    }
}

/// That it is not signed like this; and that it does not open if it is.
fn refused(wrong: &SealedEvents, what: &str) {
    assert_eq!(opened(wrong), Err(Untellable::Unsigned), "{what}");
    let signed = Sealing::new(group(2), 5).signed(wrong.ephemeral, &wrong.sealed);
    assert_eq!(opened(&signed), Err(Untellable::Sealed), "{what}, signed");
}

/// Anybody can seal to a tenant.
#[test]
fn what_a_host_has_sealed_is_told_to_nobody() {
    let mut rng = StdRng::seed_from_u64(9);
    let event =
        Told { after: 0, place: 0, what: What::Recovered, guesses_left: 5, time: 1, user: "bob".into() };
    let mut forged = sealed(&mut rng, &plain(std::slice::from_ref(&event)));
    let real = forged.clone();
    assert!(opened(&real).is_ok());
    forged.signature = [0; 64].into();
    assert_eq!(opened(&forged), Err(Untellable::Unsigned));
    // Under one key for two tenants, what one is told is not the other's.
    let by = Ed25519Public(signer().verifying_key().to_bytes());
    let other = Tenant::new("another", secret(), by);
    assert_eq!(open(&other, &REALM, (&group(2), Index(5)), &real), Err(Untellable::Unsigned));
    let elsewhere = Tenant::new(TENANT, secret(), Ed25519Public(secret().public().0));
    assert_eq!(open(&elsewhere, &REALM, (&group(2), Index(5)), &real), Err(Untellable::Unsigned));
}

#[test]
fn events_open_for_their_tenant_realm_group_and_entry_alone() {
    let mut rng = StdRng::seed_from_u64(3);
    let event = told(&mut rng, 0, 1);
    let good = sealed(&mut rng, &plain(&[event]));
    assert!(open(&tenant(), &REALM, (&group(2), Index(5)), &good).is_ok());
    let other = TenantSecret::new([8; 32]);
    for (secret, realm, group, index) in [
        (&other, REALM, group(2), 5),
        (&secret(), RealmId([9; 16]), group(2), 5),
        (&secret(), REALM, group(9), 5),
        (&secret(), REALM, group(2), 4),
        (&secret(), REALM, group(2), 5 << 56),
    ] {
        assert_eq!(
            open(&tenant_with(secret.clone()), &realm, (&group, Index(index)), &good),
            Err(Untellable::Unsigned)
        );
    }
}

/// Planted: an HSM that seals otherwise than it is written.
#[test]
fn what_is_sealed_in_another_way_does_not_open() {
    let mut rng = StdRng::seed_from_u64(4);
    let events = plain(&[told(&mut rng, 0, 1)]);
    let right = Sealing::new(group(2), 5);
    assert!(opened(&right.seal(&mut rng, &events)).is_ok());
    let planted: [fn(&mut Sealing); 7] = [
        |of| of.label = "strongroom tenant events 1",
        |of| of.order = [0, 2, 1],
        |of| of.order = [0, 1, 1],
        |of| of.context = |of| [&of.group.0[..], &of.realm.0, &of.index.0.to_be_bytes()].concat(),
        |of| of.context = |of| [&of.realm.0[..], &of.group.0, &of.index.0.to_le_bytes()].concat(),
        |of| of.context = |of| [&of.realm.0[..], &of.group.0].concat(),
        |of| of.context = |_| Vec::new(),
    ];
    for (number, mistake) in planted.into_iter().enumerate() {
        let mut wrong = right.clone();
        mistake(&mut wrong);
        assert_eq!(opened(&wrong.seal(&mut rng, &events)), Err(Untellable::Sealed), "mistake {number}");
    }
}

#[test]
fn a_secret_that_everybody_has_is_refused() {
    let mut rng = StdRng::seed_from_u64(5);
    let events = plain(&[told(&mut rng, 0, 1)]);
    let mut nonce = [0; 24];
    rng.fill_bytes(&mut nonce);
    let mut one = [0; 32];
    one[0] = 1;
    // Points of small order: with any secret, they share zeros.
    for point in [[0; 32], one] {
        let sealed = Sealing::new(group(2), 5).seal_under([0; 32], point, nonce, &events);
        assert_eq!(opened(&sealed), Err(Untellable::Sealed));
        assert!(!strongroom_events::tenant::is_usable(&X25519Public(point)));
    }
    assert!(strongroom_events::tenant::is_usable(&secret().public()));
}

#[test]
fn another_version_and_what_no_hsm_of_this_one_seals_is_told_apart_from_what_does_not_open() {
    let mut rng = StdRng::seed_from_u64(6);
    let mut first = told(&mut rng, 3, 1);
    first.user = "alice".into();
    let mut second = told(&mut rng, 4, 2);
    second.user = "a name that needs more than one step".into();
    let good = plain(&[first.clone(), second.clone()]);
    assert_eq!(good.len(), 32 + 64);
    assert!(opened(&sealed(&mut rng, &good)).is_ok());
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 12] = [
        ("version 0", |plain| plain[0] = 0),
        ("version 1", |plain| plain[0] = 1),
        ("nothing at all", Vec::clear),
        ("something that it does not know", |plain| plain[3] = 9),
        ("a place twice", |plain| plain[33] = 3),
        ("places in another order", |plain| plain[33] = 2),
        ("something after a name", |plain| plain[31] = 1),
        ("a name that goes on in the next event", |plain| plain[13] = 20),
        ("a name that goes past the end", |plain| plain[44] = 255),
        ("a name that is no text", |plain| plain[14] = 0xff),
        ("half an event", |plain| plain.truncate(40)),
        ("a byte too many", |plain| plain.push(0)),
    ];
    for (what, change) in changes {
        let mut wrong = good.clone();
        change(&mut wrong);
        assert_eq!(opened(&sealed(&mut rng, &wrong)), Err(Untellable::Version), "{what}");
    }
    for length in 2..good.len() {
        let cut = opened(&sealed(&mut rng, &good[..length]));
        assert_eq!(cut.is_ok(), length == 32, "{length} bytes");
    }
}
