//! A whole ceremony, and each way to tamper with its transcript: by whoever holds the file, by a host that lies while
//! custodians sign, and by leaving things out.

mod golden;
mod shown;
mod written;

use ed25519_dalek::SigningKey;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use strongroom_agent::admin::{custodian_key, sign};
use strongroom_agent::transcript::{
    Approval, Birth, Chain, Entry, Event, Expected, FORMAT, Fault, Hex, HexBytes,
};
use strongroom_agent::transcript::{Import, Outcome, Request, Rules, Sign, Step, Story, Wrong, head_words};
use strongroom_proto::enrolment::{ExportApproval, Founding};
use strongroom_proto::ids::{Digest, RealmId, X25519Public};

/// What a line is made of: an event, or a signature of the head by this key.
#[derive(Clone)]
enum Put {
    Event(Box<Event>),
    Head(u8),
}

fn event(event: Event) -> Put {
    Put::Event(Box::new(event))
}

use Put::Head;

fn key(i: u8) -> SigningKey {
    SigningKey::from_bytes(&[i; 32])
}

fn public(i: u8) -> Hex<32> {
    Hex(custodian_key(&key(i)).0.0)
}

fn rules() -> Rules {
    Rules { custodians: (1..=3).map(public).collect(), threshold: 2, smallest_group: Some(3) }
}

fn birth() -> Birth {
    Birth {
        realm: Hex([1; 16]),
        public_key: Hex([2; 32]),
        policy: rules(),
        hsm: Hex([3; 16]),
        build: Hex([4; 32]),
        checkpoint_key: Some(Hex([9; 32])),
    }
}

fn request() -> Request {
    Request {
        hsm: Hex([5; 16]),
        device_key: Hex([6; 32]),
        build: Hex([4; 32]),
        nonce: Hex([7; 16]),
        attestation: HexBytes(vec![]),
    }
}

fn approval() -> Approval {
    let Birth { realm, public_key, policy, hsm, build, .. } = birth();
    Approval {
        realm,
        public_key,
        policy,
        from: hsm,
        from_build: build,
        from_nonce: Hex([8; 16]),
        to: request(),
    }
}

fn import() -> Import {
    let (Birth { realm, public_key, policy, hsm, .. }, Request { hsm: own, device_key, build, .. }) =
        (birth(), request());
    let signed_by = vec![public(1), public(2)];
    Import { hsm: own, device_key, build, realm, public_key, policy, from: hsm, signed_by }
}

fn founding_signed(i: u8, birth: &Birth) -> Sign {
    (&sign(&key(i), &Founding::from(birth).digest())).into()
}

fn approved(i: u8, approval: &Approval) -> Sign {
    (&sign(&key(i), &ExportApproval::from(approval).digest())).into()
}

fn step(step: Step, outcome: Outcome) -> [Put; 2] {
    [event(Event::Started(step)), event(Event::Done(outcome))]
}

fn begun(rehearsal: bool) -> Put {
    event(Event::Begun { format: FORMAT, rehearsal })
}

fn signing(i: u8) -> Vec<Put> {
    let (custodian, founding) = (public(i), birth());
    let outcome = Outcome::FoundingSigned(founding_signed(i, &founding));
    step(Step::SignFounding { custodian, founding }, outcome).to_vec()
}

fn finding(by: &[u8]) -> Vec<Put> {
    let signatures: Vec<Sign> = by.iter().map(|i| founding_signed(*i, &birth())).collect();
    step(Step::Found { founding: birth(), signatures: signatures.clone() }, Outcome::Founded(signatures))
        .to_vec()
}

fn offering(approval: &Approval) -> Vec<Put> {
    step(Step::Offer { realm: Hex([1; 16]), request: request() }, Outcome::Offered(approval.clone())).to_vec()
}

fn approving(i: u8, approval: &Approval, sign: Sign) -> Vec<Put> {
    let (custodian, founding, approval) = (public(i), birth(), approval.clone());
    step(Step::Approve { custodian, founding, approval }, Outcome::Approved(sign)).to_vec()
}

fn exporting(approval: &Approval, by: &[u8]) -> Vec<Put> {
    let signatures = by.iter().map(|i| approved(*i, approval)).collect();
    step(Step::Export { approval: approval.clone(), signatures }, Outcome::Exported(Hex([9; 32]))).to_vec()
}

fn enrolling(sealed: u8, import: Import) -> Vec<Put> {
    step(Step::Enrol { realm: Hex([1; 16]), sealed: Hex([sealed; 32]) }, Outcome::Enrolled(import)).to_vec()
}

fn end(by: &[u8]) -> Vec<Put> {
    std::iter::once(event(Event::Ended {})).chain(by.iter().map(|i| Head(*i))).collect()
}

/// Each step of a ceremony of two HSMs.
fn steps() -> Vec<Vec<Put>> {
    vec![
        vec![begun(false)],
        step(Step::Create(rules()), Outcome::Created(birth())).to_vec(),
        [signing(1), vec![Head(1)]].concat(),
        [signing(2), vec![Head(2)]].concat(),
        finding(&[1, 2]),
        step(Step::Request {}, Outcome::Requested(request())).to_vec(),
        offering(&approval()),
        [approving(1, &approval(), approved(1, &approval())), vec![Head(1)]].concat(),
        [approving(2, &approval(), approved(2, &approval())), vec![Head(2)]].concat(),
        exporting(&approval(), &[1, 2]),
        enrolling(9, import()),
        end(&[1, 2]),
    ]
}

const CREATE: usize = 1;
const SIGN: usize = 2;
const FOUND: usize = 4;
const OFFER: usize = 6;
const APPROVE: usize = 7;
const EXPORT: usize = 9;
const ENROL: usize = 10;
const END: usize = 11;

/// Chains events into a file, as whoever holds the custodians' keys can.
fn chained(puts: &[Put], id: u8) -> Vec<Entry> {
    let rehearsal = matches!(puts.first(), Some(Put::Event(first)) if matches!(**first, Event::Begun { rehearsal: true, .. }));
    let (mut prev, mut entries) = (Digest([0; 32]), Vec::new());
    for (i, put) in puts.iter().enumerate() {
        let (before, transcript) = (i as u32, Hex([id; 16]));
        let event = match put {
            Put::Event(event) => event.as_ref().clone(),
            Head(by) => {
                Event::Signed((&sign(&key(*by), &Entry::head(transcript, rehearsal, before, prev))).into())
            }
        };
        let time = format!("2026-11-30T09:{:02}:00Z", i % 60);
        let entry =
            Entry { n: before + 1, prev: Hex(prev.0), transcript, time, program: "0.1.0".into(), event };
        prev = entry.hash();
        entries.push(entry);
    }
    entries
}

fn text(entries: &[Entry]) -> String {
    entries.iter().map(|entry| entry.line() + "\n").collect()
}

fn whole() -> Vec<Entry> {
    chained(&steps().concat(), 1)
}

fn verdict_of(bytes: &[u8], expected: &Expected) -> Result<(), Fault> {
    let chain = Chain::read(bytes)?;
    Story::of(&chain)?.whole(&chain, expected)
}

fn verdict(bytes: &[u8]) -> Result<(), Fault> {
    verdict_of(bytes, &Expected::default())
}

/// Chains lines anew after a change, with the signatures as they were: what whoever holds the file can do.
fn forged(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut prev = Digest([0; 32]);
    for (i, entry) in entries.iter_mut().enumerate() {
        (entry.n, entry.prev) = (i as u32 + 1, Hex(prev.0));
        prev = entry.hash();
    }
    entries
}

#[test]
fn the_transcript_of_a_whole_ceremony_verifies_and_says_who_and_what() {
    let file = text(&whole());
    assert_eq!(verdict(file.as_bytes()), Ok(()));
    let chain = Chain::read(file.as_bytes()).unwrap();
    let shown = Story::of(&chain).unwrap().to_string();
    for part in [&birth().realm.to_string(), &birth().public_key.to_string(), &request().hsm.to_string()] {
        assert!(shown.contains(part.as_str()), "{part} in {shown}");
    }
    for part in [
        "2 of 3 custodians",
        "made the realm, entry 3",
        "approved by 2",
        "imported, entry 25",
        "signed the founding",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("REHEARSAL") && !shown.contains("note"), "{shown}");
}

#[test]
fn each_way_to_tamper_with_the_file_has_its_name() {
    let (entries, other) = (whole(), chained(&steps().concat(), 2));
    let lines: Vec<String> = entries.iter().map(|entry| entry.line() + "\n").collect();
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        verdict(lines.concat().as_bytes())
    };
    let cut = lines.concat();
    let table: Vec<(usize, Wrong, Result<(), Fault>)> = vec![
        (1, Wrong::Empty, verdict(b"")),
        (28, Wrong::CutOff, verdict(&cut.as_bytes()[..cut.len() - 9])),
        (28, Wrong::CutOff, verdict(cut.trim_end().as_bytes())),
        (5, Wrong::NotCanonical, changed(&|l| l[4] = l[4].replacen("{\"n\"", "{ \"n\"", 1))),
        (5, Wrong::NotCanonical, changed(&|l| l[4] = l[4].replace('\n', "\r\n"))),
        (6, Wrong::Edited, changed(&|l| l[4] = l[4].replacen("T09:", "T08:", 1))),
        (
            5,
            Wrong::Edited,
            changed(&|l| l[4] = l[4].replacen(&entries[4].prev.to_string(), &"ab".repeat(32), 1)),
        ),
        (4, Wrong::Reordered(5), changed(&|l| l.swap(3, 4))),
        (5, Wrong::Repeated(4), changed(&|l| l.insert(4, l[3].clone()))),
        (4, Wrong::Missing(5), changed(&|l| drop(l.remove(3)))),
        (1, Wrong::Missing(2), changed(&|l| drop(l.remove(0)))),
        (11, Wrong::OtherTranscript(Hex([2; 16])), changed(&|l| l[10] = other[10].line() + "\n")),
        (2, Wrong::TooLong, changed(&|l| l[1] = " ".repeat(40_000) + "\n")),
        (1, Wrong::TooLong, verdict(&vec![b'\n'; (8 << 20) + 1])),
    ];
    for (i, (entry, wrong, verdict)) in table.into_iter().enumerate() {
        assert_eq!(verdict, Err(Fault { entry, wrong }), "row {i}");
    }
    for other in ["{}\n", "[]\n", "\u{1b}[2J\n", &lines[0].replacen("\"n\"", "\"m\":0,\"n\"", 1)] {
        assert!(matches!(verdict(other.as_bytes()).unwrap_err().wrong, Wrong::NotAnEntry(_)), "{other}");
    }
    let not_text = verdict(b"\xff\n").unwrap_err();
    assert!(matches!(not_text.wrong, Wrong::NotAnEntry(_)) && !not_text.to_string().contains('\u{1b}'));
}

#[test]
fn entries_that_are_chained_anew_are_not_what_custodians_signed() {
    let edits: [fn(&mut Vec<Entry>); 6] = [
        |entries| entries[1].time = "2020-01-01T00:00:00Z".into(),
        |entries| entries[0].transcript = Hex([1; 16]),
        |entries| drop(entries.remove(1)),
        |entries| entries.swap(11, 12),
        |entries| entries[2].program = "another".into(),
        |entries| entries.iter_mut().for_each(|entry| entry.transcript = Hex([7; 16])),
    ];
    for (i, edit) in edits.iter().enumerate() {
        let mut entries = whole();
        edit(&mut entries);
        let is_same = entries == whole();
        let said = verdict(text(&forged(entries)).as_bytes());
        assert_eq!(said.is_ok(), is_same, "edit {i}");
        let is_named =
            |fault: Fault| matches!(fault.wrong, Wrong::BadHead(_) | Wrong::NoStep | Wrong::Differs(_));
        assert!(said.map_or_else(is_named, |()| is_same), "edit {i}");
    }
    // The last step, after which only the end is signed.
    let mut entries = whole();
    entries[24].time = "2020-01-01T00:00:00Z".into();
    let said = verdict(text(&forged(entries)).as_bytes()).unwrap_err();
    assert_eq!(said, Fault { entry: 27, wrong: Wrong::BadHead(public(1)) });
}

/// A host that lies to custodians who sign everything: this step instead of the honest one.
fn lied(at: usize, instead: Vec<Put>) -> Result<(), Fault> {
    let mut steps = steps();
    steps[at] = instead;
    verdict(text(&chained(&steps.concat(), 1)).as_bytes())
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_a_host_has_custodians_sign_must_still_make_sense() {
    let other_realm = Birth { realm: Hex([99; 16]), ..birth() };
    let other_key = Birth { public_key: Hex([99; 32]), ..birth() };
    let other_maker = Birth { hsm: Hex([99; 16]), ..birth() };
    let weak = Rules { threshold: 1, ..rules() };
    let weaker = Birth { policy: weak.clone(), ..birth() };
    let none = Rules { threshold: 9, ..rules() };
    let found = |founding: &Birth| {
        let signatures: Vec<Sign> = [1, 2].map(|i| founding_signed(i, founding)).to_vec();
        step(
            Step::Found { founding: founding.clone(), signatures: signatures.clone() },
            Outcome::Founded(signatures),
        )
        .to_vec()
    };
    let to_other = Approval { to: Request { hsm: Hex([77; 16]), ..request() }, ..approval() };
    let under_other = Approval { public_key: Hex([99; 32]), ..approval() };
    let stranger = approving(4, &approval(), approved(4, &approval()));
    let strangers = exporting(&approval(), &[1, 4]);
    let forged_export = {
        let signatures = vec![approved(1, &to_other), approved(2, &approval())];
        step(Step::Export { approval: approval(), signatures }, Outcome::Exported(Hex([9; 32]))).to_vec()
    };
    let founded_by = |signatures: Vec<Sign>| {
        let given = [1, 2].map(|i| founding_signed(i, &birth())).to_vec();
        step(Step::Found { founding: birth(), signatures: given }, Outcome::Founded(signatures)).to_vec()
    };
    let table: Vec<(usize, Wrong, Result<(), Fault>)> = vec![
        (
            3,
            Wrong::Policy,
            lied(CREATE, step(Step::Create(rules()), Outcome::Created(weaker.clone())).to_vec()),
        ),
        (2, Wrong::Policy, {
            let senseless = Birth { policy: none.clone(), ..birth() };
            lied(CREATE, step(Step::Create(none), Outcome::Created(senseless)).to_vec())
        }),
        (3, Wrong::Beginning, lied(CREATE, [steps()[CREATE][..1].to_vec(), vec![begun(false)]].concat())),
        (2, Wrong::NoStep, lied(CREATE, steps()[CREATE][1..].to_vec())),
        (2, Wrong::NoStep, lied(CREATE, vec![event(Event::Failed { why: "so".into() })])),
        (3, Wrong::Differs("the kind of outcome"), {
            lied(CREATE, step(Step::Create(rules()), Outcome::Founded(vec![])).to_vec())
        }),
        (5, Wrong::BadSignature(public(1)), {
            let outcome = Outcome::FoundingSigned(founding_signed(1, &other_key));
            lied(SIGN, step(Step::SignFounding { custodian: public(1), founding: birth() }, outcome).to_vec())
        }),
        (5, Wrong::Differs("the custodian who signed"), {
            let outcome = Outcome::FoundingSigned(founding_signed(2, &birth()));
            lied(SIGN, step(Step::SignFounding { custodian: public(1), founding: birth() }, outcome).to_vec())
        }),
        (11, Wrong::TooFew(1, 2), lied(FOUND, finding(&[1]))),
        (11, Wrong::TooFew(1, 2), lied(FOUND, finding(&[1, 1]))),
        (10, Wrong::OtherRealm(Hex([99; 16])), lied(FOUND, found(&other_realm))),
        (10, Wrong::OtherKeys, lied(FOUND, found(&other_key))),
        (10, Wrong::OtherKeys, lied(FOUND, found(&other_maker))),
        (10, Wrong::OtherKeys, lied(FOUND, found(&weaker))),
        (11, Wrong::BadSignature(public(2)), {
            lied(FOUND, founded_by(vec![founding_signed(1, &birth()), founding_signed(2, &other_key)]))
        }),
        (11, Wrong::Stranger(public(4)), {
            lied(FOUND, founded_by(vec![founding_signed(1, &birth()), founding_signed(4, &birth())]))
        }),
        (15, Wrong::Differs("the device of the approval"), lied(OFFER, offering(&to_other))),
        (15, Wrong::OtherKeys, lied(OFFER, offering(&under_other))),
        (
            17,
            Wrong::BadSignature(public(1)),
            lied(APPROVE, approving(1, &approval(), approved(1, &to_other))),
        ),
        (16, Wrong::Stranger(public(4)), lied(APPROVE, stranger)),
        (16, Wrong::OtherKeys, lied(APPROVE, approving(1, &under_other, approved(1, &under_other)))),
        (4, Wrong::OtherKeys, {
            let outcome = Outcome::FoundingSigned(founding_signed(1, &other_key));
            let step_of = Step::SignFounding { custodian: public(1), founding: other_key.clone() };
            lied(SIGN, step(step_of, outcome).to_vec())
        }),
        (4, Wrong::Differs("a second making"), lied(SIGN, steps()[CREATE].clone())),
        (23, Wrong::TooFew(1, 2), lied(EXPORT, exporting(&approval(), &[2]))),
        (22, Wrong::Stranger(public(4)), lied(EXPORT, strangers)),
        (22, Wrong::BadSignature(public(1)), lied(EXPORT, forged_export)),
        (22, Wrong::OtherKeys, lied(EXPORT, exporting(&under_other, &[1, 2]))),
        (25, Wrong::OtherKeys, lied(ENROL, enrolling(9, Import { public_key: Hex([99; 32]), ..import() }))),
        (25, Wrong::OtherRealm(Hex([99; 16])), {
            lied(ENROL, enrolling(9, Import { realm: Hex([99; 16]), ..import() }))
        }),
        (27, Wrong::Stranger(public(4)), lied(END, end(&[4, 2]))),
    ];
    for (i, (entry, wrong, verdict)) in table.into_iter().enumerate() {
        assert_eq!(verdict, Err(Fault { entry, wrong }), "row {i}");
    }
    let of_another = |sealed, import| lied(ENROL, enrolling(sealed, import)).unwrap_err();
    for said in [
        of_another(8, import()),
        of_another(9, Import { device_key: Hex([99; 32]), ..import() }),
        of_another(9, Import { build: Hex([99; 32]), ..import() }),
        of_another(9, Import { signed_by: vec![public(3)], ..import() }),
        of_another(9, Import { from: Hex([88; 16]), ..import() }),
    ] {
        assert!(said.entry == 25 && matches!(said.wrong, Wrong::Differs(_)), "{said}");
    }
}

#[test]
fn an_import_is_one_of_which_the_hsm_saw_enough_signatures() {
    let imported = |by: &[u8]| {
        let signed_by = by.iter().map(|i| public(*i)).collect();
        lied(ENROL, enrolling(9, Import { signed_by, ..import() }))
    };
    assert_eq!(imported(&[1, 2]), Ok(()));
    for (by, count) in [(&[][..], 0), (&[1][..], 1), (&[2, 2][..], 1)] {
        assert_eq!(imported(by), Err(Fault { entry: 25, wrong: Wrong::TooFew(count, 2) }), "{by:?}");
    }
    // Where the export is not in the transcript, nothing else names who signed.
    let mut steps = steps();
    steps[ENROL] = enrolling(9, Import { signed_by: vec![public(1), public(4)], ..import() });
    steps.remove(EXPORT);
    let said = verdict(text(&chained(&steps.concat(), 1)).as_bytes());
    assert_eq!(said, Err(Fault { entry: 23, wrong: Wrong::Stranger(public(4)) }));
}

#[test]
fn what_is_missing_has_its_name() {
    let steps = steps();
    let without = |at: usize| {
        let mut steps = steps.clone();
        steps.remove(at);
        verdict(text(&chained(&steps.concat(), 1)).as_bytes()).unwrap_err().wrong
    };
    assert_eq!(without(CREATE), Wrong::NotMade);
    assert_eq!(without(FOUND), Wrong::NotFounded);
    assert_eq!(without(EXPORT), Wrong::NotExported(request().hsm));
    assert_eq!(without(END), Wrong::NotEnded);
    assert_eq!(lied(END, end(&[1])).unwrap_err().wrong, Wrong::Unsigned(1, 2));
    assert_eq!(lied(END, end(&[1, 1])).unwrap_err().wrong, Wrong::Unsigned(1, 2));
    assert_eq!(lied(END, end(&[])).unwrap_err().wrong, Wrong::Unsigned(0, 2));
    // Carol took part, and was not there at the end: noted, and a fault only where too few others were.
    let carol = |end_by: &[u8]| {
        let puts = [steps[..END].concat(), signing(3), end(end_by)].concat();
        let file = text(&chained(&puts, 1));
        let story = Story::of(&Chain::read(file.as_bytes()).unwrap()).unwrap();
        let note = format!("entry 27: custodian {} took part, and did not sign the end", public(3));
        (verdict(file.as_bytes()), story.to_string().contains(&note))
    };
    assert_eq!(carol(&[1, 2]), (Ok(()), true));
    assert_eq!(carol(&[1, 2, 3]), (Ok(()), false));
    assert_eq!(carol(&[1]), (Err(Fault { entry: 29, wrong: Wrong::Unsigned(1, 2) }), true));
    let from_nowhere = Approval { from: Hex([88; 16]), ..approval() };
    let mut elsewhere = steps.clone();
    elsewhere[EXPORT] = exporting(&from_nowhere, &[1, 2]);
    elsewhere[ENROL] = enrolling(9, Import { from: Hex([88; 16]), ..import() });
    let said = verdict(text(&chained(&elsewhere.concat(), 1)).as_bytes());
    assert_eq!(said, Err(Fault { entry: 23, wrong: Wrong::UnknownExporter(Hex([88; 16])) }));
    // Lines off the end: never `OK`, wherever it is cut.
    let lines = whole();
    for end in 1..lines.len() {
        assert!(verdict(text(&lines[..end]).as_bytes()).is_err(), "cut after {end}");
    }
    let nothing = event(Event::Started(Step::Request {}));
    let later = [steps.concat(), vec![nothing.clone()]].concat();
    assert_eq!(verdict(text(&chained(&later, 1)).as_bytes()).unwrap_err().wrong, Wrong::NotEnded);
    assert_eq!(verdict(text(&chained(&[nothing], 1)).as_bytes()).unwrap_err().wrong, Wrong::Beginning);
    let newer = event(Event::Begun { format: 2, rehearsal: false });
    assert_eq!(verdict(text(&chained(&[newer], 1)).as_bytes()).unwrap_err().wrong, Wrong::Format(2));
}

#[test]
fn a_realm_or_a_head_that_was_written_down_is_compared() {
    let first = whole();
    let later = chained(&[steps().concat(), finding(&[1, 2]), end(&[1, 2])].concat(), 1);
    let head = first.last().unwrap().hash();
    let named = |entries: &[Entry], head: String| {
        let expected = Expected { head: Some(head), ..Expected::default() };
        verdict_of(text(entries).as_bytes(), &expected)
    };
    for head in [head.to_string(), head_words(&head).to_string()] {
        assert_eq!(named(&first, head.clone()), Ok(()));
        assert_eq!(named(&later, head), Err(Fault { entry: 33, wrong: Wrong::Longer(28) }));
    }
    // Each custodian who signs the end writes down another head, and none of them is wrong: only signatures follow.
    for n in 26..=28 {
        assert_eq!(named(&first, first[n - 1].hash().to_string()), Ok(()), "the head of entry {n}");
    }
    let before = named(&first, first[24].hash().to_string());
    assert_eq!(before, Err(Fault { entry: 28, wrong: Wrong::Longer(25) }));
    // A later part was cut off, at a place where custodians had signed: only the head tells.
    let whole_head = later.last().unwrap().hash().to_string();
    assert_eq!(named(&first, whole_head), Err(Fault { entry: 28, wrong: Wrong::OtherHead }));
    let realm = |i: u8| Expected { realm: Some(RealmId([i; 16])), ..Expected::default() };
    assert_eq!(verdict_of(text(&first).as_bytes(), &realm(1)), Ok(()));
    let other = verdict_of(text(&first).as_bytes(), &realm(2)).unwrap_err().wrong;
    assert_eq!(other, Wrong::NotExpectedRealm(Hex([1; 16])));
}

/// Whoever makes three keys writes a whole transcript about any realm, its public key and all: only who the custodians are
/// tells.
#[test]
fn a_transcript_by_other_custodians_passes_only_where_nobody_named_them() {
    let file = text(&whole());
    let of = |custodians: &[u8]| Expected {
        realm: Some(RealmId([1; 16])),
        public_key: Some(X25519Public([2; 32])),
        custodians: custodians.iter().map(|i| public(*i)).collect(),
        ..Expected::default()
    };
    let said = |expected: &Expected| verdict_of(file.as_bytes(), expected).map_err(|fault| fault.wrong);
    assert_eq!(said(&of(&[])), Ok(()));
    assert_eq!(said(&of(&[1, 2, 3])), Ok(()));
    assert_eq!(said(&of(&[11, 12, 13])), Err(Wrong::OtherCustodian(named_first(&[1, 2, 3]))));
    // One more than is known could have signed twice, under two names.
    assert_eq!(said(&of(&[1, 2])), Err(Wrong::OtherCustodian(public(3))));
    assert_eq!(said(&of(&[1, 2, 3, 4])), Err(Wrong::NoCustodian(public(4))));
    let enough = |threshold| Expected { threshold: Some(threshold), ..of(&[1, 2, 3]) };
    assert_eq!(said(&enough(2)), Ok(()));
    assert_eq!(said(&enough(3)), Err(Wrong::OtherThreshold(2, 3)));
    let other_key = Expected { public_key: Some(X25519Public([9; 32])), ..of(&[1, 2, 3]) };
    assert_eq!(said(&other_key), Err(Wrong::NotExpectedKey(Hex([2; 32]))));

    let chain = Chain::read(file.as_bytes()).unwrap();
    let story = Story::of(&chain).unwrap();
    let unknown = story.verdict(&of(&[]));
    assert!(unknown.contains("OK, if these are your custodians' keys: compare them"), "{unknown}");
    let known = story.verdict(&of(&[1, 2, 3]));
    assert!(!known.contains("compare them"), "{known}");
    // Only a head that was written down shows that nothing was cut off.
    for cut in [&unknown, &known] {
        assert!(cut.contains("as far as it goes: whether later entries were cut off"), "{cut}");
    }
    assert!(known.contains("OK as far as it goes"), "{known}");
    let all = Expected { head: Some(chain.head().to_string()), ..of(&[1, 2, 3]) };
    assert_eq!(
        (said(&all), &*story.verdict(&all)),
        (Ok(()), "OK: it is whole, and custodians signed all of it")
    );
}

fn named_first(of: &[u8]) -> Hex<32> {
    of.iter().map(|i| public(*i)).min().unwrap()
}

/// One custodian who has the real ones named, and writes that one is enough.
#[test]
fn a_policy_with_which_one_custodian_writes_it_all_is_not_what_was_agreed() {
    let rules = Rules { threshold: 1, ..rules() };
    let founding = Birth { policy: rules.clone(), ..birth() };
    let signatures = vec![founding_signed(1, &founding)];
    let found = Step::Found { founding: founding.clone(), signatures: signatures.clone() };
    let puts = [
        vec![begun(false)],
        step(Step::Create(rules), Outcome::Created(founding)).to_vec(),
        step(found, Outcome::Founded(signatures)).to_vec(),
        end(&[1]),
    ];
    let file = text(&chained(&puts.concat(), 1));
    assert_eq!(verdict(file.as_bytes()), Ok(()));
    let expected = Expected { custodians: [1, 2, 3].map(public).into(), ..Expected::default() };
    let said = verdict_of(file.as_bytes(), &expected).unwrap_err().wrong;
    assert_eq!(said, Wrong::OtherThreshold(1, 2));
}

#[test]
fn a_closed_realm_has_nobody_who_signs_and_that_is_said() {
    let closed = Rules { custodians: vec![], threshold: 0, smallest_group: None };
    let founding = Birth { policy: closed.clone(), ..birth() };
    let puts = [vec![begun(false)], step(Step::Create(closed), Outcome::Created(founding)).to_vec()].concat();
    let file = text(&chained(&puts, 1));
    assert_eq!(verdict(file.as_bytes()).unwrap_err().wrong, Wrong::NobodySigns);
    let expected = Expected { closed: true, ..Expected::default() };
    assert_eq!(verdict_of(file.as_bytes(), &expected), Ok(()));
    // A transcript that custodians should have signed does not pass as one of a closed realm; nor does one that they signed.
    for entries in [&whole()[..25], &whole()[..]] {
        let said = verdict_of(text(entries).as_bytes(), &expected).unwrap_err().wrong;
        assert_eq!(said, Wrong::NotClosed(3));
    }
    // No other HSM ever gets it.
    let closed = Rules { custodians: vec![], threshold: 0, smallest_group: None };
    let another = Import { policy: closed, signed_by: vec![], ..import() };
    let puts = [puts, enrolling(9, another)].concat();
    let said = verdict_of(text(&chained(&puts, 1)).as_bytes(), &expected);
    assert_eq!(said, Err(Fault { entry: 5, wrong: Wrong::NotExported(request().hsm) }));
}

#[test]
fn a_rehearsal_says_so_and_never_becomes_the_real_one() {
    let mut puts = steps().concat();
    puts[0] = begun(true);
    let rehearsed = chained(&puts, 1);
    assert_eq!(verdict(text(&rehearsed).as_bytes()), Ok(()));
    let chain = Chain::read(text(&rehearsed).as_bytes()).unwrap();
    assert!(Story::of(&chain).unwrap().to_string().starts_with("*** REHEARSAL"));
    // Chained anew as real, every signature of the transcript is one of a rehearsal.
    let mut real = rehearsed;
    real[0].event = Event::Begun { format: FORMAT, rehearsal: false };
    let said = verdict(text(&forged(real.clone())).as_bytes()).unwrap_err();
    assert_eq!(said, Fault { entry: 6, wrong: Wrong::BadHead(public(1)) });
    // Even over the same hash, the signature of a rehearsal is another.
    let head = |rehearsal| Entry::head(Hex([1; 16]), rehearsal, 5, Digest([5; 32]));
    assert_ne!(head(true), head(false));
}

/// The preimage of a head, byte for byte: it must not change without a new label.
#[test]
fn the_head_is_of_a_label_the_transcript_its_length_and_its_last_line() {
    use strongroom_proto::hash::hash;
    let head = Entry::head(Hex([1; 16]), false, 7, Digest([2; 32]));
    assert_eq!(head, hash("strongroom transcript head 1", &[&[1; 16], &[0, 0, 0, 7], &[2; 32]]));
    let rehearsal = Entry::head(Hex([1; 16]), true, 7, Digest([2; 32]));
    assert_eq!(
        rehearsal,
        hash("strongroom transcript rehearsal head 1", &[&[1; 16], &[0, 0, 0, 7], &[2; 32]])
    );
    let first = whole().remove(0);
    assert_eq!(first.hash(), hash("strongroom transcript entry 1", &[first.line().as_bytes()]));
}

#[test]
fn hostile_files_are_refused_without_a_panic_and_no_byte_before_the_last_signature_can_change() {
    let mut rng = SmallRng::seed_from_u64(42);
    let file = text(&whole()).into_bytes();
    let last = text(&whole()[..27]).len();
    for _ in 0..1500 {
        let mut changed = file.clone();
        // The time and the program of the last signature are under no other.
        let at = rng.random_range(0..last);
        changed[at] ^= 1 << rng.random_range(0..8);
        let said = verdict(&changed).expect_err("a changed byte is noticed");
        assert!(!said.to_string().contains('\n'), "one line: {said}");
        let end = rng.random_range(0..file.len());
        assert!(verdict(&file[..end]).is_err(), "cut after byte {end}");
    }
}
