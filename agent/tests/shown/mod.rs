//! What a transcript tells people, and that nothing in it shows them something else.

use crate::{CREATE, END, begun, chained, end, event, lied, steps, text, verdict};
use strongroom_agent::transcript::{Chain, Event, Fault, Step, Story, Wrong};

#[test]
fn what_failed_or_never_ended_and_a_clock_that_went_back_are_noted() {
    let failing = vec![
        event(Event::Started(Step::Request {})),
        event(Event::Failed { why: "the HSM \u{1b}[31mrefused".into() }),
        event(Event::Started(Step::Request {})),
        event(Event::Unknown { why: "no answer".into() }),
        event(Event::Started(Step::Request {})),
    ];
    let puts = [steps()[..END].concat(), failing, end(&[1, 2])].concat();
    let mut entries = chained(&puts[..27], 1);
    entries[26].time = "2020-01-01T00:00:00Z".into();
    let shown = Story::of(&Chain::read(text(&entries).as_bytes()).unwrap()).unwrap().to_string();
    assert!(shown.contains("`hsm request` failed: the HSM \u{fffd}[31mrefused"), "{shown}");
    assert!(shown.contains("the clock said 2020-01-01T00:00:00Z, after 2026"), "{shown}");
    let file = text(&chained(&puts, 1));
    assert_eq!(verdict(file.as_bytes()), Ok(()));
    let shown = Story::of(&Chain::read(file.as_bytes()).unwrap()).unwrap().to_string();
    assert!(shown.contains("`hsm request` began, and how it ended is not known"), "{shown}");
    assert!(shown.contains("`hsm request` may have been done, or not: no answer"), "{shown}");
    assert_eq!(
        lied(CREATE, vec![event(Event::Unknown { why: "so".into() })]).unwrap_err().wrong,
        Wrong::NoStep
    );
}

#[test]
fn no_text_of_the_file_is_shown_as_what_a_terminal_obeys_or_a_reader_does_not_see() {
    let hidden = [
        "\u{1b}",
        "\n",
        "\u{7f}",
        "\u{9b}",
        "\u{ad}",
        "\u{61c}",
        "\u{180e}",
        "\u{200b}",
        "\u{200d}",
        "\u{200e}",
        "\u{200f}",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}",
        "\u{2060}",
        "\u{2066}",
        "\u{2069}",
        "\u{feff}",
        "\u{fffb}",
        "\u{e0000}",
        "\u{e0001}",
        "\u{e0041}",
        "\u{e007f}",
    ];
    let failing = |why: &str| {
        let step = [Event::Started(Step::Request {}), Event::Failed { why: why.into() }].map(event);
        let file = text(&chained(&[vec![begun(false)], steps()[CREATE].clone(), step.to_vec()].concat(), 1));
        Story::of(&Chain::read(file.as_bytes()).unwrap()).unwrap().to_string()
    };
    for hidden in hidden {
        let shown = failing(&format!("a{hidden}b"));
        assert!(shown.contains("failed: a\u{fffd}b\n"), "{hidden:?}: {shown:?}");
    }
    assert!(failing("Prüfung 検査 ✓ — fehlgeschlagen").contains("Prüfung 検査 ✓ — fehlgeschlagen"));
}

#[test]
fn a_time_is_of_one_form() {
    let timed = |time: &str| {
        let mut entries = chained(&[begun(false)], 1);
        entries[0].time = time.into();
        Story::of(&Chain::read(text(&entries).as_bytes()).unwrap()).map(drop)
    };
    assert_eq!(timed("2026-11-30T09:30:00Z"), Ok(()));
    for time in [
        "",
        "2026-11-30",
        "2026-11-30 09:30:00Z",
        "2026-11-30T09:30:00",
        "2026-11-30T09:30:00Z ",
        "2026-11-30t09:30:00z",
        "12026-11-30T09:30:00Z",
        "\u{662}026-11-30T09:30:00Z",
        "yesterday, I think..",
    ] {
        assert_eq!(timed(time), Err(Fault { entry: 1, wrong: Wrong::Time }), "{time}");
    }
}
