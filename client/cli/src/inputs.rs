//! What the command reads: files, environment, terminal. It sends nothing before all of it is valid.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, IsTerminal as _, Read as _, Write as _, stderr, stdin};
use std::path::{Path, PathBuf};

use strongroom_client::{
    Client, ClientBuilder, Configuration, FixedTokens, Https, Pin, Progress, RealmId, UserSecret,
};
use zeroize::Zeroizing;

use crate::args::{Common, Register};
use crate::heads::HeadOptions;
use crate::output::Failure;
use crate::pin_help;

/// The longest PIN that is accepted, in bytes.
const MAX_PIN: usize = 4096;

/// Some editors and shells put it before text. It means nothing, but would change the PIN.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A client as the options describe it, which calls `report` at the beginning of every step.
pub(crate) fn client(
    common: &Common,
    heads: Option<&HeadOptions>,
    report: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<Client, Failure> {
    let (builder, transport) = parts(common, None, report)?;
    let builder = match heads {
        Some(options) => options.demand(builder)?,
        None => builder,
    };
    Ok(builder.build_with(transport))
}

/// The same, but through one host of its only realm.
pub(crate) fn client_through(
    common: &Common,
    through: Option<&str>,
    report: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<Client, Failure> {
    let (builder, transport) = parts(common, through, report)?;
    Ok(builder.build_with(transport))
}

fn parts(
    common: &Common,
    through: Option<&str>,
    report: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<(ClientBuilder, Https), Failure> {
    let path = common.configuration.as_ref().ok_or_else(|| {
        Failure::usage("no configuration: name one with --configuration or in STRONGROOM_CONFIGURATION")
    })?;
    let configuration = |path: &PathBuf, through| configuration(path, through, common.allow_http);
    let current = configuration(path, through)?;
    let previous =
        common.previous.iter().map(|path| configuration(path, None)).collect::<Result<Vec<_>, _>>()?;
    let text = match &common.token_file {
        Some(path) => read_text(path)?,
        None => Zeroizing::new(std::env::var("STRONGROOM_TOKEN").map_err(|_| {
            Failure::usage(
                "no auth token: put it in a file and name that with --token-file, or in STRONGROOM_TOKEN",
            )
        })?),
    };
    let mut realms: Vec<RealmId> = std::iter::once(&current)
        .chain(&previous)
        .flat_map(Configuration::realms)
        .map(|realm| realm.id())
        .collect();
    realms.sort_unstable();
    realms.dedup();
    let tokens = tokens(&text, &realms).map_err(Failure::usage)?;
    let transport = match &common.ca {
        Some(path) => Https::with_root_certificates(&read(path)?),
        None => Https::new(),
    };
    let transport = transport.map_err(Failure::usage)?;
    if [&current]
        .into_iter()
        .chain(&previous)
        .flat_map(Configuration::realms)
        .any(|realm| realm.address().scheme() == "https")
    {
        transport.load_roots().map_err(Failure::usage)?;
    }
    Ok((Client::builder(current, tokens).previous(previous).on_progress(report), transport))
}

fn configuration(path: &Path, through: Option<&str>, allow_http: bool) -> Result<Configuration, Failure> {
    let read = if allow_http { Configuration::from_json_allowing_http } else { Configuration::from_json };
    let mut text = read_text(path)?;
    if let Some(host) = through {
        text = Zeroizing::new(rerouted(&text, host).map_err(Failure::usage)?);
    }
    read(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// A configuration whose only realm is reached through one host.
fn rerouted(text: &str, host: &str) -> Result<String, &'static str> {
    let unreadable = "the configuration is not JSON with a list of realms";
    let mut all: serde_json::Value = serde_json::from_str(text).map_err(|_| unreadable)?;
    let realms = all.get_mut("realms").and_then(serde_json::Value::as_array_mut).ok_or(unreadable)?;
    let [serde_json::Value::Object(realm)] = &mut realms[..] else {
        return Err("--through is for a configuration of one realm: drill each realm with one of its own");
    };
    realm.insert("address".into(), host.into());
    realm.remove("other_addresses");
    Ok(all.to_string())
}

/// A token that is wiped even if the others with it are refused.
#[derive(serde::Deserialize)]
#[serde(from = "String")]
struct Token(Zeroizing<String>);

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(Zeroizing::new(token))
    }
}

/// One token for the only realm, or a JSON object from realm id to token.
fn tokens(text: &str, realms: &[RealmId]) -> Result<FixedTokens, String> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim();
    if text.is_empty() {
        return Err("the auth token is empty: put it in a file and name that with --token-file, or in \
                    STRONGROOM_TOKEN"
            .to_owned());
    }
    if !text.starts_with('{') {
        return match realms {
            [realm] => Ok(FixedTokens::from_iter([(*realm, text.to_owned())])),
            _ => Err(format!(
                "one auth token for {} realms: give a JSON object that maps each realm's id to its token",
                realms.len()
            )),
        };
    }
    let map: HashMap<String, Token> = serde_json::from_str(text)
        // The text of the error could contain parts of a token.
        .map_err(|_| "the auth tokens are not a JSON object that maps realm ids to tokens".to_owned())?;
    map.into_iter()
        .map(|(realm, mut token)| match realm.parse() {
            Ok(realm) => Ok((realm, std::mem::take(&mut *token.0))),
            Err(_) => {
                Err(format!("the auth tokens name a realm {realm:?}: write its id, 32 hexadecimal digits"))
            }
        })
        .collect()
}

/// The secret, from a file or from standard input; a terminal does not show it.
pub(crate) fn secret(options: &Register) -> Result<UserSecret, Failure> {
    let bytes = match &options.secret_file {
        Some(path) => read(path)?,
        None if stdin().is_terminal() => prompt("Secret: ")?,
        None => {
            let mut bytes = Zeroizing::new(Vec::with_capacity(UserSecret::MAX_LEN + 1));
            // One byte more than allowed shows that a secret is too long.
            let limit = UserSecret::MAX_LEN as u64 + 1;
            stdin()
                .lock()
                .take(limit)
                .read_to_end(&mut bytes)
                .map_err(|error| unreadable("standard input", &error))?;
            bytes
        }
    };
    secret_of(&bytes, options.allow_empty_secret)
}

/// An empty secret is usually a mistake, such as reading /dev/null, and would replace a good one.
fn secret_of(bytes: &[u8], allow_empty: bool) -> Result<UserSecret, Failure> {
    if bytes.is_empty() && !allow_empty {
        return Err(Failure::usage(
            "the secret is empty: give one on standard input or with --secret-file; if you mean it, add \
             --allow-empty-secret",
        ));
    }
    UserSecret::new(bytes).map_err(Failure::usage)
}

/// A PIN to be registered: from a terminal, twice.
pub(crate) fn new_pin(from_stdin: bool) -> Result<Pin, Failure> {
    if from_stdin {
        return pin(true);
    }
    let (first, second) = (pin_of(&prompt("New PIN: ")?)?, pin_of(&prompt("Again: ")?)?);
    if first.as_bytes() != second.as_bytes() {
        return Err(Failure::usage("the two PINs differ: start again"));
    }
    pin_help::warn(&first);
    Ok(first)
}

/// A PIN.
pub(crate) fn pin(from_stdin: bool) -> Result<Pin, Failure> {
    let pin = if from_stdin { pin_line(&mut stdin().lock())? } else { pin_of(&prompt("PIN: ")?)? };
    pin_help::warn(&pin);
    Ok(pin)
}

/// The PIN that there is, and the one that is to replace it.
pub(crate) fn old_and_new_pin(from_stdin: bool) -> Result<(Pin, Pin), Failure> {
    if from_stdin {
        return two_pin_lines(&mut stdin().lock());
    }
    Ok((pin(false)?, new_pin(false)?))
}

/// Two PINs from the first two lines of `input`.
fn two_pin_lines(input: &mut impl BufRead) -> Result<(Pin, Pin), Failure> {
    let old = pin_line(input)?;
    let new = pin_line(input);
    let new = new.map_err(|Failure(why)| {
        Failure::usage(format!("the second line of standard input is to be the new PIN: {}", why.message()))
    });
    Ok((old, new?))
}

/// A PIN from the next line of `input`.
fn pin_line(input: &mut impl BufRead) -> Result<Pin, Failure> {
    // Room for what may surround it, and for one byte more than allowed, which shows that a PIN is too long.
    let limit = BYTE_ORDER_MARK.len_utf8() + MAX_PIN + "\r\n".len() + 1;
    let mut line = Zeroizing::new(Vec::with_capacity(limit));
    let read = input.take(limit as u64).read_until(b'\n', &mut line);
    read.map_err(|error| unreadable("standard input", &error))?;
    pin_of(without_mark(first_line(&line)))
}

/// An empty PIN is a mistake, and would cost a guess. A long one is refused: cut short, it would be a different PIN.
fn pin_of(bytes: &[u8]) -> Result<Pin, Failure> {
    if bytes.is_empty() {
        Err(Failure::usage("the PIN is empty: type one"))
    } else if bytes.len() > MAX_PIN {
        Err(Failure::usage(format!("the PIN is too long: use at most {MAX_PIN} bytes")))
    } else {
        Ok(pin_help::pin(bytes))
    }
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn prompt(question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let answer = rpassword::prompt_password(question).map_err(|error| {
        Failure::usage(format!("there is no terminal to ask on ({error}): use --pin-stdin and files instead"))
    })?;
    Ok(Zeroizing::new(answer.into_bytes()))
}

/// Refuses to delete without a yes.
pub(crate) fn confirm_deletion() -> Result<(), Failure> {
    confirm(
        "Delete the registered secret permanently?",
        "deleting needs a confirmation: add --yes",
        "nothing was deleted",
    )
}

/// Refuses to replace a secret without a yes.
pub(crate) fn confirm_replacement() -> Result<(), Failure> {
    confirm(
        "A secret is registered already. Replace it permanently?",
        "a secret is registered already: to replace it permanently, add --yes",
        "nothing was registered",
    )
}

/// Asks on a terminal; fails with `unasked` if there is none, and with `refused` without a yes.
fn confirm(question: &str, unasked: &str, refused: &str) -> Result<(), Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::usage(unasked));
    }
    eprint!("{question} Type yes: ");
    let mut answer = String::new();
    stderr()
        .flush()
        .and_then(|()| stdin().read_line(&mut answer))
        .map_err(|e| unreadable("the terminal", &e))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::usage(refused)) }
}

/// Refuses a file that already exists.
pub(crate) fn check_absent(path: Option<&Path>) -> Result<(), Failure> {
    match path {
        Some(path) if path.exists() => {
            Err(Failure::usage(format!("{} exists: name a new file with --out", path.display())))
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    fs::read(path).map(Zeroizing::new).map_err(|error| unreadable(&path.display().to_string(), &error))
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| unreadable(&path.display().to_string(), &error))
}

fn unreadable(what: &str, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{what} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_client::AuthTokens as _;

    const REALMS: [RealmId; 2] = [RealmId([0x11; 16]), RealmId([0x22; 16])];

    #[tokio::test]
    async fn one_token_serves_one_realm_only() {
        let one = tokens("abc\n", &REALMS[..1]).unwrap();
        assert_eq!(*one.token(&REALMS[0]).await.unwrap(), "abc");
        assert!(tokens("abc", &REALMS).is_err());
    }

    #[tokio::test]
    async fn an_object_names_the_token_of_each_realm() {
        let text =
            r#"{"11111111-1111-1111-1111-111111111111": "a", "22222222222222222222222222222222": "b"}"#;
        let both = tokens(text, &REALMS).unwrap();
        assert_eq!(*both.token(&REALMS[0]).await.unwrap(), "a");
        assert_eq!(*both.token(&REALMS[1]).await.unwrap(), "b");
    }

    #[test]
    fn a_bad_object_is_refused_without_repeating_a_token() {
        let refusal = |text| tokens(text, &REALMS).err().unwrap();
        assert!(!refusal(r#"{"11111111111111111111111111111111": "very-secret""#).contains("very-secret"));
        assert!(refusal(r#"{"xyz": "very-secret"}"#).contains("xyz"));
    }

    #[test]
    fn a_pin_ends_with_its_line() {
        assert_eq!(first_line(b"4821\n"), b"4821");
        assert_eq!(first_line(b"4821\r\n"), b"4821");
        assert_eq!(first_line(b"48 21"), b"48 21");
        assert!(pin_of(first_line(b"\n")).is_err());
    }

    #[test]
    fn the_old_pin_is_the_first_line_and_the_new_one_the_second() {
        let (old, new) = two_pin_lines(&mut &b"4821\r\n1284"[..]).ok().unwrap();
        assert_eq!((old.as_bytes(), new.as_bytes()), (&b"4821"[..], &b"1284"[..]));
        for text in ["4821\n", "4821", "\n1284\n", "4821\n\n"] {
            assert!(two_pin_lines(&mut text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(two_pin_lines(&mut format!("{}\n1284\n", "1".repeat(MAX_PIN + 9)).as_bytes()).is_err());
    }

    #[test]
    fn an_empty_secret_token_or_pin_is_refused_and_a_secret_may_be_empty_by_name() {
        assert!(secret_of(b"", false).is_err());
        assert!(secret_of(b"", true).is_ok_and(|secret| secret.as_bytes().is_empty()));
        assert!(secret_of(b" ", false).is_ok());
        assert!(tokens("\n", &REALMS[..1]).is_err());
        for empty in [&b""[..], b"\n", b"\r\n"] {
            assert!(pin_line(&mut &*empty).is_err());
        }
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_not_part_of_a_pin_or_a_token() {
        assert_eq!(without_mark(first_line("\u{feff}4821\r\n".as_bytes())), b"4821");
        assert_eq!(without_mark(b"4821"), b"4821");
        assert!(pin_line(&mut "\u{feff}\n".as_bytes()).is_err());
        assert!(pin_line(&mut format!("\u{feff}{}\r\n", "1".repeat(MAX_PIN)).as_bytes()).is_ok());
        let one = tokens("\u{feff}abc\n", &REALMS[..1]).unwrap();
        assert_eq!(*one.token(&REALMS[0]).await.unwrap(), "abc");
        assert!(tokens("\u{feff}", &REALMS[..1]).is_err());
        let both = tokens("\u{feff}{\"11111111111111111111111111111111\": \"a\"}", &REALMS).unwrap();
        assert_eq!(*both.token(&REALMS[0]).await.unwrap(), "a");
    }

    #[test]
    fn a_pin_of_the_longest_length_is_used_whole_and_a_longer_one_is_refused() {
        for end in ["", "\n", "\r\n", "\nmore"] {
            let line = |length| "1".repeat(length) + end;
            assert!(pin_line(&mut line(MAX_PIN).as_bytes()).is_ok(), "{end:?}");
            for longer in [MAX_PIN + 1, MAX_PIN + 2, MAX_PIN + 3, MAX_PIN + 4, 5_000] {
                assert!(pin_line(&mut line(longer).as_bytes()).is_err(), "{longer} {end:?}");
            }
        }
    }
}
