//! What can be said of a PIN before it is used: whether many users would choose it, and whether its user meant what was typed.
//!
//! Owns the list of the most common PINs and the patterns. It only says: no operation asks it, and nothing is refused because of it.
//! An attacker has `num_guesses` tries at a PIN and begins with the most common ones, so a PIN that is not among those is worth
//! far more than a longer one.
//!
//! Sources. What is in [`MOST_CHOSEN`], and that users choose patterns, years and dates: N. Berry, "PIN analysis",
//! DataGenetics, 2012 (3.4 million of four digits, which leaked); D. Amitay, "Most common iPhone passcodes", 2011 (204,508 of them).
//! That a warning helps, how long a list should be, and that six digits are chosen no better than four: P. Markert et al.,
//! "This PIN Can Be Easily Guessed", IEEE Symposium on Security and Privacy, 2020.

use std::fmt;

use zeroize::Zeroizing;

use crate::pin::Pin;

/// What can be said of a PIN that a user typed. Only facts: what to do about them is the application's to decide.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PinHelp {
    /// What to register and to recover with: [`Pin::normalized`].
    pub pin: Pin,
    /// Why many others would choose it, if they would. For a PIN that is chosen, not one that is asked for.
    pub common: Option<CommonPin>,
    /// What the user may not have meant, each at most once, in the order of [`PinOddity`]. For both.
    pub oddities: Vec<PinOddity>,
}

/// Why a PIN is tried early by whoever guesses. The first that fits counts.
///
/// Of all PINs of four digits one in ten is common, of six digits one in twelve; most of those are dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommonPin {
    /// It is among the PINs that most users chose where they were counted. With ten guesses, a stranger who begins with
    /// those of four digits is right for 23 of 100 users.
    MostChosen,
    /// It has fewer than four characters.
    Short,
    /// One character or group again and again, such as 7777, 4545 or 123123.
    Repeated,
    /// Each character is as far from the one before, such as 4567, 8642 or abcd; or each twice, such as 4455.
    Run,
    /// The same backwards, such as 3883.
    Mirrored,
    /// Lines on the keys of a telephone, such as 2580, 147258 or 1397.
    Keypad,
    /// A year from 1900 to 2039.
    Year,
    /// A day with its month, or with month and year, in any usual order. A stranger does not try it early; whoever knows the user does.
    Date,
}

/// What a user who typed this may not have meant: at recovery, it may come out otherwise, and cost a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PinOddity {
    /// There is nothing.
    Empty,
    /// Digits that are not those of ASCII, such as full-width ones from a Japanese keyboard, or Arabic ones. Another keyboard writes
    /// other ones, which look the same: ask for the digits from 0 to 9.
    OtherDigits,
    /// A space at the beginning or the end, as keyboards add behind a word that they propose.
    OuterSpace,
    /// Characters that cannot be seen, such as a tabulator, a line end within, or the marks that come with copied text.
    Invisible,
}

/// The most chosen ones: of four digits the first twenty and the first ten of the two counts; of five and six those of the first
/// twenty that were most frequent.
const MOST_CHOSEN: &[&str] = &[
    // DataGenetics, most frequent first: together 26.83 % of those of four digits.
    "1234", "1111", "0000", "1212", "7777", "1004", "2000", "4444", "2222", "6969", "9999", "3333", "5555",
    "6666", "1122", "1313", "8888", "4321", "2001",
    "1010", // Amitay, those that the other does not have.
    "2580", "5683", "0852", "1998", // DataGenetics.
    "12345", "11111", "55555", "00000", "54321", "13579", "77777", "22222", "12321", "99999", "123456",
    "123123", "111111", "121212", "123321", "666666", "000000", "654321", "696969", "112233", "159753",
    "292513",
];

/// Fewer than this is short.
const SHORT: usize = 4;

/// Longer ones are looked through for repetitions and runs alone.
const LONGEST_PATTERN: usize = 16;

/// Straight lines on a telephone's keys, and rings around its middle, each also backwards.
const KEYPAD_LINES: &[&str] = &[
    "123", "456", "789", "147", "258", "369", "159", "357", "2580", "1397", "3971", "9713", "7139", "2684",
    "6842", "8426", "4268",
];

impl PinHelp {
    /// Looks at what a user typed.
    #[must_use]
    pub fn of(typed: &str) -> Self {
        let pin = Pin::normalized(typed);
        let text = str::from_utf8(pin.as_bytes()).unwrap_or_default();
        let (common, oddities) = (common(text), oddities(text));
        Self { pin, common, oddities }
    }
}

impl CommonPin {
    /// The variant's name, the same in every client.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MostChosen => "MostChosen",
            Self::Short => "Short",
            Self::Repeated => "Repeated",
            Self::Run => "Run",
            Self::Mirrored => "Mirrored",
            Self::Keypad => "Keypad",
            Self::Year => "Year",
            Self::Date => "Date",
        }
    }
}

impl fmt::Display for CommonPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MostChosen => "this PIN is among the first that anybody tries: choose another one",
            Self::Short => "this PIN is very short: choose one of four characters or more",
            Self::Repeated => "this PIN repeats itself, and is tried early: choose another one",
            Self::Run => "this PIN counts up or down, and is tried early: choose another one",
            Self::Mirrored => "this PIN is the same backwards, and is tried early: choose another one",
            Self::Keypad => "this PIN is a pattern on the keys, and is tried early: choose another one",
            Self::Year => "this PIN is a year, and is tried early: choose another one",
            Self::Date => "this PIN is a date, which whoever knows you may try: choose another one",
        })
    }
}

impl PinOddity {
    /// The variant's name, the same in every client.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::OtherDigits => "OtherDigits",
            Self::OuterSpace => "OuterSpace",
            Self::Invisible => "Invisible",
        }
    }
}

impl fmt::Display for PinOddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the PIN is empty: type one",
            Self::OtherDigits => {
                "the PIN has digits that another keyboard does not write: switch to the digits from 0 to 9"
            }
            Self::OuterSpace => "the PIN begins or ends with a space: take it away, unless you mean it",
            Self::Invisible => "the PIN has characters that cannot be seen: type it instead of pasting it",
        })
    }
}

/// Why many would choose this text.
fn common(text: &str) -> Option<CommonPin> {
    // Secret: also in another form. A full-width 1234 is as common as another one.
    let chars: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().map(ascii_digit).collect());
    let digits: Zeroizing<Vec<u8>> =
        Zeroizing::new(chars.iter().filter_map(|char| u8::try_from(*char).ok()).collect());
    let all_digits = digits.len() == chars.len() && digits.iter().all(u8::is_ascii_digit);
    let patterned = chars.len() <= LONGEST_PATTERN;
    let of_digits = |fits: fn(&[u8]) -> bool| all_digits && patterned && fits(&digits);
    match &chars[..] {
        [] => None,
        _ if of_digits(|digits| MOST_CHOSEN.iter().any(|pin| pin.as_bytes() == digits)) => {
            Some(CommonPin::MostChosen)
        }
        few if few.len() < SHORT => Some(CommonPin::Short),
        chars if is_repeated(chars) => Some(CommonPin::Repeated),
        chars if is_run(chars) || is_doubled_run(chars) => Some(CommonPin::Run),
        chars if patterned && chars.iter().eq(chars.iter().rev()) => Some(CommonPin::Mirrored),
        _ if of_digits(is_on_keypad) => Some(CommonPin::Keypad),
        _ if of_digits(is_year) => Some(CommonPin::Year),
        _ if of_digits(is_date) => Some(CommonPin::Date),
        _ => None,
    }
}

/// What its user may not have meant by this text.
fn oddities(text: &str) -> Vec<PinOddity> {
    let found = [
        (PinOddity::Empty, text.is_empty()),
        (PinOddity::OtherDigits, text.chars().any(|typed| typed.is_numeric() && !typed.is_ascii())),
        (PinOddity::OuterSpace, text.starts_with(' ') || text.ends_with(' ')),
        (PinOddity::Invisible, text.chars().any(is_invisible)),
    ];
    found.into_iter().filter_map(|(oddity, is)| is.then_some(oddity)).collect()
}

/// Control characters, and those without a width that come with copied text.
fn is_invisible(typed: char) -> bool {
    let without_width = matches!(
        typed,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    );
    typed.is_control() || without_width
}

/// The digit of ASCII in place of a full-width, Arabic, Persian, Devanagari, Bengali or Thai one.
fn ascii_digit(typed: char) -> char {
    let zeros = ['\u{ff10}', '\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{e50}'];
    let digit = zeros
        .iter()
        .find_map(|zero| u32::from(typed).checked_sub(u32::from(*zero)).filter(|digit| *digit < 10));
    digit.and_then(|digit| char::from_digit(digit, 10)).unwrap_or(typed)
}

/// Whether it is a group, again and again, even if the last one is cut short.
fn is_repeated(chars: &[char]) -> bool {
    let mut groups = (1..=chars.len() / 2).take(LONGEST_PATTERN);
    groups.any(|group| chars.iter().zip(&chars[group..]).all(|(one, next)| one == next))
}

fn step(one: char, next: char) -> i64 {
    i64::from(u32::from(next)) - i64::from(u32::from(one))
}

/// As far apart, at most three; after the 9 may come the 0.
fn is_run(chars: &[char]) -> bool {
    let wraps = |one, next| matches!((one, next), ('9', '0') | ('0', '9'));
    let mut steps = chars.windows(2).map(|pair| match pair {
        [one, next] if wraps(*one, *next) => -step(*one, *next).signum(),
        [one, next] => step(*one, *next),
        _ => 0,
    });
    let first = steps.next().unwrap_or_default();
    (1..=3).contains(&first.abs()) && steps.all(|other| other == first)
}

/// Each twice.
fn is_doubled_run(chars: &[char]) -> bool {
    let (pairs, rest) = chars.as_chunks::<2>();
    let single: Zeroizing<Vec<char>> = Zeroizing::new(pairs.iter().map(|[one, _]| *one).collect());
    rest.is_empty() && pairs.iter().all(|[one, other]| one == other) && is_run(&single)
}

/// Whether it is lines, each of which may begin where the one before ended.
fn is_on_keypad(digits: &[u8]) -> bool {
    if digits.is_empty() {
        return true;
    }
    let fits = |line: &[u8], backwards: bool| {
        let begun = digits.get(..line.len());
        begun.is_some_and(|begun| match backwards {
            false => begun == line,
            true => begun.iter().eq(line.iter().rev()),
        })
    };
    KEYPAD_LINES.iter().map(|line| line.as_bytes()).any(|line| {
        let rest = digits.get(line.len()..).unwrap_or_default();
        let joined = digits.get(line.len() - 1..).unwrap_or_default();
        (fits(line, false) || fits(line, true))
            && (is_on_keypad(rest) || (joined.len() > 1 && is_on_keypad(joined)))
    })
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

fn is_year(digits: &[u8]) -> bool {
    digits.len() == 4 && (1900..2040).contains(&number(digits))
}

fn is_day(month: &[u8], day: &[u8]) -> bool {
    let longest = match number(month) {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 29,
        _ => 0,
    };
    (1..=longest).contains(&number(day))
}

fn is_date(digits: &[u8]) -> bool {
    let either = |one: &[u8], other: &[u8]| is_day(one, other) || is_day(other, one);
    match digits.len() {
        4 => either(&digits[..2], &digits[2..]),
        6 => either(&digits[..2], &digits[2..4]) || is_day(&digits[2..4], &digits[4..]),
        8 => {
            (is_year(&digits[4..]) && either(&digits[..2], &digits[2..4]))
                || (is_year(&digits[..4]) && is_day(&digits[4..6], &digits[6..]))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn common_of(typed: &str) -> Option<CommonPin> {
        PinHelp::of(typed).common
    }

    #[test]
    fn each_common_pin_is_known_by_its_kind() {
        let examples: &[(CommonPin, &[&str])] = &[
            (CommonPin::MostChosen, MOST_CHOSEN),
            (CommonPin::Short, &["1", "48", "482", "é"]),
            (
                CommonPin::Repeated,
                &[
                    "4545",
                    "77777777",
                    "aaaa",
                    "482482",
                    "abab",
                    "12121",
                    "0070070070",
                    "zzzzzzzzzzzzzzzzzzzzzz",
                ],
            ),
            (
                CommonPin::Run,
                &["4567", "9876", "7890", "3210", "1357", "8642", "0369", "abcd", "4455", "665544", "2109"],
            ),
            (CommonPin::Mirrored, &["3883", "48284", "noon", "482284"]),
            (
                CommonPin::Keypad,
                &[
                    "147258", "789456", "123654", "951357", "14789", "1397", "9317", "2486", "258963",
                    "258147",
                ],
            ),
            (CommonPin::Year, &["1984", "1900", "2039"]),
            (
                CommonPin::Date,
                &["3112", "1231", "2902", "311299", "123199", "991231", "31121999", "19991231"],
            ),
        ];
        for (kind, pins) in examples {
            for pin in *pins {
                assert_eq!(common_of(pin), Some(*kind), "{pin}");
            }
        }
    }

    #[test]
    fn what_few_would_choose_is_not_common() {
        for pin in [
            "",
            "4821",
            "1899",
            "2040",
            "3102",
            "0013",
            "320199",
            "1478",
            "2589",
            "12a4",
            "abce",
            "4829164",
            "0482",
            "19991331",
            "correct horse battery staple",
            "zoë!",
            "18412939182746510293847",
        ] {
            assert_eq!(common_of(pin), None, "{pin}");
        }
    }

    #[test]
    fn a_common_pin_in_other_digits_or_with_a_line_end_is_as_common() {
        for pin in ["1234\n", "１２３４", "١٢٣٤", "۱۲۳۴", "१२३४", "১২৩৪", "๑๒๓๔"]
        {
            assert_eq!(common_of(pin), Some(CommonPin::MostChosen), "{pin}");
        }
    }

    /// How many PINs of so many digits are common, of every so manieth.
    fn counts(length: usize, every: usize) -> Vec<(&'static str, u32)> {
        let mut counts = BTreeMap::new();
        for number in (0..10_u32.pow(length as u32)).step_by(every) {
            if let Some(kind) = common(&format!("{number:0length$}")) {
                *counts.entry(kind.name()).or_insert(0) += 1;
            }
        }
        counts.into_iter().collect()
    }

    #[test]
    fn of_all_pins_few_enough_are_common_to_leave_a_choice() {
        let (dates, lists) = ([("Date", 540), ("Keypad", 16)], [("Mirrored", 90), ("MostChosen", 24)]);
        let rest = [("Repeated", 86), ("Run", 77), ("Year", 133)];
        assert_eq!(counts(4, 1), [&dates[..], &lists, &rest].concat());
        // `docs/apps.md` has the figures for all of them, which take nine seconds.
        let (dates, lists) = ([("Date", 1787), ("Keypad", 4)], [("Mirrored", 19), ("MostChosen", 2)]);
        let rest = [("Repeated", 23), ("Run", 2)];
        assert_eq!(counts(6, 47), [&dates[..], &lists, &rest].concat());
    }

    #[test]
    fn what_a_user_may_not_have_meant_is_told() {
        use PinOddity::{Empty, Invisible, OtherDigits, OuterSpace};
        let cases: &[(&str, &[PinOddity])] = &[
            ("4821", &[]),
            ("4821\r\n", &[]),
            ("correct horse", &[]),
            ("zoë", &[]),
            ("", &[Empty]),
            ("\n", &[Empty]),
            ("４８２１", &[OtherDigits]),
            ("4８21", &[OtherDigits]),
            ("٤٨٢١", &[OtherDigits]),
            ("word ", &[OuterSpace]),
            ("\u{3000}4821", &[OuterSpace]),
            ("48\t21", &[Invisible]),
            ("48\n21", &[Invisible]),
            ("\u{feff}4821", &[Invisible]),
            ("4821\u{200b}", &[Invisible]),
            ("\u{202a}４ ", &[OtherDigits, OuterSpace, Invisible]),
        ];
        for (typed, oddities) in cases {
            assert_eq!(PinHelp::of(typed).oddities, *oddities, "{typed:?}");
        }
    }

    #[test]
    fn it_names_what_it_says_and_prints_no_pin() {
        for kind in [
            CommonPin::MostChosen,
            CommonPin::Short,
            CommonPin::Repeated,
            CommonPin::Run,
            CommonPin::Mirrored,
        ]
        .into_iter()
        .chain([CommonPin::Keypad, CommonPin::Year, CommonPin::Date])
        {
            assert_eq!(kind.name(), format!("{kind:?}"));
            assert!(kind.to_string().contains("choose"), "{kind}");
        }
        for oddity in [PinOddity::Empty, PinOddity::OtherDigits, PinOddity::OuterSpace, PinOddity::Invisible]
        {
            assert_eq!(oddity.name(), format!("{oddity:?}"));
            assert!(oddity.to_string().contains(": "), "{oddity}");
        }
        assert!(!format!("{:?}", PinHelp::of("1234")).contains("1234"));
    }

    #[test]
    fn long_texts_take_no_longer_than_they_are() {
        for text in ["147".repeat(100_000), "9".repeat(300_000), "14741".repeat(3), "ä".repeat(300_000)] {
            assert!(common(&text).is_some());
        }
        assert_eq!(common(&(0..50_000).map(|number| number.to_string()).collect::<String>()), None);
    }
}
