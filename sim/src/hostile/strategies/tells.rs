//! Attacks on what tenants are told: how a host would learn what is not committed, or have told what is not the tenant's.

use super::plays::{fork, guess_here};
use crate::hostile::clients::tenant_of;
use crate::hostile::forgery::{Forgery, Lie};
use crate::hostile::hunt::{Hunt, Scene};
use crate::hostile::parts::{DEVICES, MEMBERS};
use crate::hostile::step::{HostsRealm, Made, Step, Wish};
use crate::hostile::tell_step::{Brought, Signed, ToKey, ToTell};
use rand::RngExt;

/// A scene, the tenant of its user, and an entry in which that user guessed and one of the other tenant registered: it is
/// committed, and this was stated of it.
struct Told {
    s: Scene,
    tenant: u8,
    entry: Made,
    said: Made,
}

fn told(hunt: &mut Hunt) -> Option<Told> {
    let s = hunt.scene(1)?;
    let tenant = tenant_of(s.user);
    let other = (0..).find(|user| tenant_of(*user) != tenant)?;
    let guess = hunt.ask(s.channel, Wish::Recover2(s.registration, 0));
    let channel = hunt.open(other, s.at);
    let theirs = hunt.ask(channel, Wish::Register2(2));
    let messages = if hunt.rng.random() { [guess, theirs] } else { [theirs, guess] };
    let entry = hunt.process(s.at, s.group, &messages);
    hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    let said = hunt.said(entry)?;
    Some(Told { s, tenant, entry, said })
}

/// Both tenants, at every HSM, and again later, in steps back from there.
pub(super) fn tell_as_everybody_does(hunt: &mut Hunt) {
    let Some(Told { s, entry, said, .. }) = told(hunt) else { return };
    for at in 0..DEVICES as u8 {
        let telling = hunt.to_tell(entry, at & 1);
        hunt.tell(at, said, &[entry], Some(telling));
    }
    let right = hunt.rng.random();
    let message = hunt.ask(s.channel, Wish::Recover3(s.registration, right));
    let next = hunt.process(s.at, s.group, &[message, message]);
    let last = hunt.process(s.at, s.group, &[]);
    hunt.settle(s.at, s.group, last, &hunt.members(s.group));
    let (at, Some(said)) = (hunt.any_hsm(), hunt.said(last)) else { return };
    let past = hunt.tell(at, said, &[next, last], None);
    hunt.go(Step::Restart { at, cut_after: None });
    for (entry, entries) in
        [(next, vec![next]), (entry, vec![entry, next]), (s.tip, vec![s.tip, entry, next])]
    {
        for tenant in 0..2 {
            let telling = hunt.to_tell(entry, tenant);
            let all = ToTell { more: entries[1..].to_vec(), ..telling.clone() };
            hunt.tell_past(at, past, &entries, Some(telling));
            hunt.tell_past(at, past, &entries, Some(all));
        }
    }
}

/// A guess that is in no committed entry, by every statement that there is.
pub(super) fn tell_what_is_not_committed(hunt: &mut Hunt) {
    let Some(Told { s, tenant, entry, said }) = told(hunt) else { return };
    let guess = hunt.ask(s.channel, Wish::Recover2(s.registration, 1));
    let next = hunt.process(s.at, s.group, &[guess]);
    let telling = Some(hunt.to_tell(next, tenant));
    let at = hunt.any_hsm();
    for entries in [&[next][..], &[next, entry], &[entry, next]] {
        hunt.tell(at, said, entries, telling.clone());
    }
    if let Some(captured) = hunt.capture(s.at, next) {
        hunt.tell(at, captured, &[next], telling.clone());
        hunt.tell_past(at, captured, &[next], telling.clone());
    }
    for how in Lie::ALL {
        let lie = hunt.go(Step::Lie { statement: said, entry: next, how });
        hunt.tell(at, lie, &[next], telling.clone());
        hunt.tell_past(at, lie, &[next], telling.clone());
    }
}

/// Of two forks one is committed; the other has a guess in it, or the one that is has events of the other brought.
pub(super) fn tell_another_fork(hunt: &mut Hunt) {
    let Some(Told { s, tenant, .. }) = told(hunt) else { return };
    let (other, _, _) = fork(hunt, &s);
    let guess = guess_here(hunt, &s, 2);
    let mine = hunt.process(s.at, s.group, &guess);
    let theirs = hunt.process(other, s.group, &[]);
    let others = hunt.without(&s, s.at);
    hunt.settle(other, s.group, theirs, &others);
    let (at, Some(said)) = (hunt.any_hsm(), hunt.said(theirs)) else { return };
    let telling = hunt.to_tell(mine, tenant);
    for entries in [&[mine, theirs][..], &[mine], &[theirs]] {
        hunt.tell(at, said, entries, Some(telling.clone()));
    }
    let with_mine = ToTell { more: vec![mine], ..hunt.to_tell(s.tip, tenant) };
    hunt.tell(at, said, &[s.tip, theirs], Some(with_mine.clone()));
    hunt.tell(at, said, &[s.tip, mine, theirs], Some(with_mine));
    let past = hunt.tell(at, said, &[theirs], None);
    hunt.tell_past(at, past, &[mine], Some(telling.clone()));
    hunt.tell_past(at, past, &[mine, theirs], Some(telling));
}

/// One left out, one twice, two exchanged; or entries of another group.
pub(super) fn leave_out_an_entry_between(hunt: &mut Hunt) {
    let Some(Told { s, tenant, entry, said }) = told(hunt) else { return };
    let telling = Some(hunt.to_tell(s.tip, tenant));
    let at = hunt.any_hsm();
    let chain = hunt.chain(entry);
    let first = chain[0];
    let of_another = |made: &&Made| hunt.world.entries[*made].group != usize::from(s.group);
    let other = hunt.world.entries.keys().rev().find(of_another).copied();
    let mut wrong = vec![vec![s.tip, s.tip, entry], vec![entry, s.tip], vec![first, entry], vec![]];
    wrong.extend(other.map(|other| vec![other, entry]));
    wrong.extend(other.map(|other| vec![s.tip, other]));
    for entries in wrong {
        hunt.tell(at, said, &entries, telling.clone());
    }
}

/// To itself, or to whoever has the host's help, by too few custodians or by what they signed for others.
pub(super) fn tell_the_host(hunt: &mut Hunt) {
    let Some(Told { tenant, entry, said, .. }) = told(hunt) else { return };
    let proper = hunt.to_tell(entry, tenant);
    let at = hunt.any_hsm();
    for key in ToKey::ALL {
        for signers in [0b111, 0b001, 0b010] {
            let telling = ToTell { key, signers, ..proper.clone() };
            hunt.tell(at, said, &[entry], Some(telling));
        }
    }
    for signed in Signed::ALL {
        let signers = if signed == Signed::Twice { 0b010 } else { 0b110 };
        let telling = ToTell { signed, signers, ..proper.clone() };
        hunt.tell(at, said, &[entry], Some(telling));
    }
}

/// What happened to the other's user, twice, in another order, where nothing is, or to another of its own.
pub(super) fn tell_of_others(hunt: &mut Hunt) {
    let Some(Told { s, tenant, entry, said }) = told(hunt) else { return };
    let (own, theirs) = (hunt.to_tell(entry, tenant), hunt.to_tell(entry, 1 - tenant));
    let ([mine, ..], [other, ..]) = (own.owned.as_slice(), theirs.owned.as_slice()) else { return };
    let (mine, other) = (*mine, *other);
    let at = hunt.any_hsm();
    let wrong = [
        vec![other],
        vec![mine, other],
        vec![(other.0, mine.1)],
        vec![mine, mine],
        vec![(1, mine.1), (0, mine.1)],
        vec![(2, mine.1)],
        vec![(u8::MAX, mine.1)],
    ];
    for owned in wrong {
        let telling = ToTell { owned, ..own.clone() };
        hunt.tell(at, said, &[entry], Some(telling));
    }
    for brought in Brought::ALL {
        let telling = ToTell { brought, ..own.clone() };
        hunt.tell(at, said, &[entry], Some(telling));
    }
    let telling = ToTell { events: s.tip, owned: vec![(0, s.user)], ..own };
    hunt.tell(at, said, &[entry], Some(telling));
}

/// Of an entry that is past, for every other request that takes a statement; and those, as of the past.
pub(super) fn use_what_is_said_of_the_past(hunt: &mut Hunt) {
    let Some(Told { s, tenant, entry, said }) = told(hunt) else { return };
    let members = hunt.members(s.group);
    let next = hunt.process(s.at, s.group, &[]);
    let at = hunt.other(&s);
    let (behind, past) = (hunt.tell(at, said, &[s.tip, entry], None), hunt.tell(at, said, &[entry], None));
    hunt.commit(s.at, s.group, vec![past, behind]);
    for (entry, past) in [(entry, past), (s.tip, behind)] {
        hunt.go(Step::Jump { at, entry, statement: past });
        if let Some(head) = hunt.sum_up(entry) {
            hunt.sign(at, head, past);
        }
        let lie = hunt.go(Step::Lie { statement: past, entry: next, how: Lie::OtherEntry });
        hunt.commit(s.at, s.group, vec![lie, past]);
    }
    hunt.draw_nonce(s.at, s.group);
    hunt.confirm(s.at, s.group, vec![past, behind]);
    let telling = hunt.to_tell(entry, tenant);
    hunt.tell(at, past, &[entry], Some(telling.clone()));
    hunt.tell_past(at, said, &[entry], Some(telling.clone()));
    let nonce = hunt.draw_nonce(s.at, s.group);
    for fresh in hunt.state_fresh(&members, s.group, nonce) {
        hunt.tell(at, fresh, &[entry], Some(telling.clone()));
        hunt.tell_past(at, fresh, &[entry], Some(telling.clone()));
    }
}

/// Forged entries that are told as if they were the committed one, or came before it.
pub(super) fn tell_what_nobody_made(hunt: &mut Hunt) {
    let Some(Told { s, tenant, entry, said }) = told(hunt) else { return };
    let at = hunt.any_hsm();
    for how in Forgery::ALL {
        let forged = hunt.go(Step::Forge { entry, how });
        let telling = ToTell { events: entry, ..hunt.to_tell(entry, tenant) };
        hunt.tell(at, said, &[forged], Some(telling.clone()));
        let before = hunt.go(Step::Forge { entry: s.tip, how });
        let telling = ToTell { events: s.tip, ..hunt.to_tell(s.tip, tenant) };
        hunt.tell(at, said, &[before, entry], Some(telling));
    }
}

/// An HSM in a realm of the host's own is asked to open this realm's events.
pub(super) fn tell_in_another_realm(hunt: &mut Hunt) {
    let Some(Told { s, tenant, entry, said }) = told(hunt) else { return };
    let outsider = MEMBERS as u8;
    hunt.go(Step::JoinRealm { at: outsider, sealed: None, hosts: Some(HostsRealm::OwnPolicy) });
    let telling = Some(ToTell { key: ToKey::Hosts, signers: 0b111, ..hunt.to_tell(entry, tenant) });
    hunt.tell(outsider, said, &[entry], telling.clone());
    hunt.tell(outsider, said, &[s.tip, entry], telling.clone());
    let past = hunt.tell(s.at, said, &[entry], None);
    hunt.tell_past(outsider, past, &[entry], telling);
}
