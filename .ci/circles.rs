//! Finds files of one crate that use each other in a circle: `rustc .ci/circles.rs -o circles && ./circles sim/src/lib.rs …`
//!
//! It reads paths, not types: a `use`, or a path in the code, is an arrow from its file to the file that defines what the
//! path names. A name that a module only hands on with `pub use` is looked up where it is defined, and handing on is not
//! an arrow by itself. Test code draws none. Methods are not followed: `self.step()` ties nothing, whichever file has
//! the `impl`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut files, mut circles) = (0, 0);
    for root in std::env::args().skip(1) {
        let house = House::read(Path::new(&root));
        files += house.rooms.len();
        for circle in house.circles() {
            circles += 1;
            eprintln!("a circle of {} files in {root}:\n{}", circle.len(), house.told(&circle));
        }
    }
    println!("{files} files, {circles} circles");
    if circles == 0 && files > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a `use` brings into a module, under the name it has there.
struct Use {
    name: String,
    path: Vec<String>,
    is_handed_on: bool,
}

/// One file: a module of the crate.
#[derive(Default)]
struct Room {
    file: PathBuf,
    /// From the root of the crate.
    place: Vec<String>,
    children: BTreeSet<String>,
    uses: Vec<Use>,
    /// The modules from which it takes every name.
    globs: Vec<Vec<String>>,
    /// Paths in the code, of two names or more.
    paths: Vec<Vec<String>>,
    /// Every name in the code, apart from those in paths.
    names: BTreeSet<String>,
    defined: BTreeSet<String>,
}

/// One crate.
struct House {
    rooms: BTreeMap<Vec<String>, Room>,
}

type Arrows = BTreeMap<Vec<String>, BTreeMap<Vec<String>, BTreeSet<String>>>;

impl House {
    fn read(root: &Path) -> Self {
        let mut house = Self { rooms: BTreeMap::new() };
        house.enter(root, vec![]);
        house
    }

    fn enter(&mut self, file: &Path, place: Vec<String>) {
        let text =
            std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut room = Room { file: file.into(), place: place.clone(), ..Room::default() };
        Reader { tokens: tokens(&text), at: 0, room: &mut room, inner: vec![] }.read();
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = file.parent().unwrap_or(Path::new("."));
        let below = if ["lib", "main", "mod"].contains(&stem) { folder.into() } else { folder.join(stem) };
        for child in &room.children {
            let at = [below.join(format!("{child}.rs")), below.join(child).join("mod.rs")];
            let at = at.iter().find(|file| file.exists());
            let at = at.unwrap_or_else(|| panic!("{}: where is `mod {child};`?", file.display()));
            self.enter(at, [place.clone(), vec![child.clone()]].concat());
        }
        self.rooms.insert(place, room);
    }

    /// The room in which the last name of a path is defined, if that is in this crate. A path that names a whole room leads
    /// nowhere: what is used from the room says where.
    fn target(&self, from: &Room, path: &[String], depth: u8) -> Option<Vec<String>> {
        if depth > 8 {
            return None;
        }
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (vec![], &path[1..]),
            "self" => (from.place.clone(), &path[1..]),
            "super" => (from.place.split_last()?.1.to_vec(), &path[1..]),
            first if from.children.contains(first) => {
                ([&from.place[..], &[first.into()]].concat(), &path[1..])
            }
            first => {
                let known = from.uses.iter().find(|known| known.name == first)?;
                if known.path == path {
                    return None;
                }
                return self.target(from, &[&known.path[..], &path[1..]].concat(), depth + 1);
            }
        };
        loop {
            let room = self.rooms.get(&at)?;
            let (name, after) = rest.split_first()?;
            if name == "super" {
                at.pop()?;
            } else if room.children.contains(name) {
                at.push(name.clone());
            } else if let Some(known) = room.uses.iter().find(|known| known.name == *name) {
                return self.target(room, &[&known.path[..], after].concat(), depth + 1);
            } else if !room.defined.contains(name) {
                let mut globs = room.globs.iter().map(|glob| [&glob[..], rest].concat());
                return globs.find_map(|path| self.target(room, &path, depth + 1)).or(Some(at));
            } else {
                return Some(at);
            }
            rest = after;
        }
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (place, room) in &self.rooms {
            let uses =
                room.uses.iter().filter(|known| !known.is_handed_on || room.names.contains(&known.name));
            for path in uses.map(|known| &known.path).chain(&room.paths) {
                if let Some(target) = self.target(room, path, 0).filter(|target| target != place) {
                    let name = path.last().cloned().unwrap_or_default();
                    arrows.entry(place.clone()).or_default().entry(target).or_default().insert(name);
                }
            }
        }
        arrows
    }

    /// The sets of rooms of which each can be reached from each other one.
    fn circles(&self) -> Vec<BTreeSet<Vec<String>>> {
        let arrows = self.arrows();
        let reach: BTreeMap<_, _> = self.rooms.keys().map(|place| (place, reached(&arrows, place))).collect();
        let circle = |place: &Vec<String>| -> BTreeSet<Vec<String>> {
            reach[place].iter().filter(|other| reach[other].contains(place)).cloned().collect()
        };
        let circles: BTreeSet<_> =
            self.rooms.keys().map(circle).filter(|circle| !circle.is_empty()).collect();
        circles.into_iter().collect()
    }

    fn told(&self, circle: &BTreeSet<Vec<String>>) -> String {
        let mut told = String::new();
        for (from, to, names) in
            self.arrows().iter().flat_map(|(from, all)| all.iter().map(move |(to, names)| (from, to, names)))
        {
            if circle.contains(from) && circle.contains(to) {
                let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                told += &format!(
                    "  {} -> {}: {names}\n",
                    self.rooms[from].file.display(),
                    self.rooms[to].file.display()
                );
            }
        }
        told
    }
}

fn reached(arrows: &Arrows, from: &Vec<String>) -> BTreeSet<Vec<String>> {
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![from]);
    while let Some(place) = ahead.pop() {
        for next in arrows.get(place).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(next.clone()) {
                ahead.push(next);
            }
        }
    }
    seen
}

/// The names and signs of a text, without comments, literals and lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    let until = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        (from..chars.len()).find(|at| chars[*at..].starts_with(&end)).map_or(chars.len(), |at| at + end.len())
    };
    while at < chars.len() {
        let rest = &chars[at..];
        if rest.starts_with(&['/', '/']) {
            at = until(at, "\n");
        } else if rest.starts_with(&['/', '*']) {
            at = until(at, "*/");
        } else if rest[0] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if rest[0] == '\'' && rest.get(1) == Some(&'\\') {
            at = until(at + 3, "'");
        } else if rest[0] == '\'' {
            at += if rest.get(2) == Some(&'\'') { 3 } else { 1 };
        } else if rest[0] == 'r' && matches!(rest.get(1), Some('"' | '#')) && raw(rest).is_some() {
            at = until(
                at + 1 + raw(rest).unwrap_or_default() + 1,
                &format!("\"{}", "#".repeat(raw(rest).unwrap_or_default())),
            );
        } else if rest[0].is_alphanumeric() || rest[0] == '_' {
            let end = rest.iter().position(|c| !(c.is_alphanumeric() || *c == '_')).unwrap_or(rest.len());
            // `b"…"` is a literal, whose letter is not a name.
            if !(end == 1 && rest[0] == 'b' && matches!(rest.get(1), Some('"' | '\''))) {
                tokens.push(rest[..end].iter().collect());
            }
            at += end;
        } else {
            if !rest[0].is_whitespace() {
                tokens.push(rest[0].into());
            }
            at += 1;
        }
    }
    tokens
}

/// How many signs a raw string begins with, if one begins here.
fn raw(rest: &[char]) -> Option<usize> {
    let signs = rest[1..].iter().take_while(|c| **c == '#').count();
    (rest.get(1 + signs) == Some(&'"')).then_some(signs)
}

/// Reads one file.
struct Reader<'a> {
    tokens: Vec<String>,
    at: usize,
    room: &'a mut Room,
    /// At which depth of braces each module within the file ends.
    inner: Vec<usize>,
}

impl Reader<'_> {
    fn token(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", String::as_str)
    }

    fn is_next(&self, signs: &[&str]) -> bool {
        signs.iter().enumerate().all(|(ahead, sign)| self.token(ahead) == *sign)
    }

    fn read(&mut self) {
        let (mut depth, mut is_test, mut is_pub) = (0, false, false);
        while self.at < self.tokens.len() {
            if self.is_next(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                is_test = true;
                self.at += 7;
                continue;
            }
            match self.token(0).to_owned().as_str() {
                "mod" if is_test => self.skip(),
                "mod" if self.token(2) == ";" => {
                    self.room.children.insert(self.token(1).to_owned());
                    self.at += 3;
                }
                "mod" if self.token(2) == "{" => {
                    self.room.defined.insert(self.token(1).to_owned());
                    self.inner.push(depth);
                    depth += 1;
                    self.at += 3;
                }
                "use" => {
                    self.at += 1;
                    self.read_use(vec![], is_pub);
                }
                "{" => (depth, self.at) = (depth + 1, self.at + 1),
                "}" => {
                    (depth, self.at) = (depth - 1, self.at + 1);
                    if self.inner.last() == Some(&depth) {
                        self.inner.pop();
                    }
                }
                "pub" => {
                    is_pub = true;
                    self.at += 1;
                    if self.token(0) == "(" {
                        self.at += self.tokens[self.at..].iter().position(|t| t == ")").unwrap_or(0) + 1;
                    }
                    continue;
                }
                kind @ ("fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union")
                    if depth == self.inner.len() =>
                {
                    let name = if ["fn", "mut"].contains(&self.token(1)) {
                        None
                    } else {
                        Some(self.token(1).to_owned())
                    };
                    self.room.defined.extend(name);
                    self.at += if kind == "fn" { 2 } else { 1 };
                }
                _ => self.read_path(),
            }
            (is_test, is_pub) = (false, false);
        }
    }

    /// Past the body of a module, or its `;`.
    fn skip(&mut self) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.token(0) {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            let is_end = depth == 0 && [";", "}"].contains(&self.token(0));
            self.at += 1;
            if is_end {
                return;
            }
        }
    }

    /// A path as seen from the file's own module: within a module of the file, the first `super` leads there.
    fn seen_from_file(&self, mut path: Vec<String>) -> Vec<String> {
        for _ in &self.inner {
            if path.first().is_some_and(|first| first == "super") {
                path.remove(0);
            }
        }
        if path.first().is_some_and(|first| first != "super") || self.inner.is_empty() {
            path
        } else {
            [vec!["self".into()], path].concat()
        }
    }

    fn read_use(&mut self, before: Vec<String>, is_handed_on: bool) {
        let mut path = before.clone();
        loop {
            match self.token(0).to_owned().as_str() {
                ":" => self.at += 1,
                "*" => {
                    let path = self.seen_from_file(path.clone());
                    self.room.globs.push(path);
                    self.at += 1;
                }
                "{" => {
                    self.at += 1;
                    self.read_use(path.clone(), is_handed_on);
                    path = vec![];
                }
                "as" => {
                    let name = self.token(1).to_owned();
                    self.known(std::mem::take(&mut path), Some(name), is_handed_on);
                    self.at += 2;
                }
                sign @ ("," | "}" | ";" | "") => {
                    self.known(std::mem::replace(&mut path, before.clone()), None, is_handed_on);
                    self.at += 1;
                    if sign != "," {
                        return;
                    }
                }
                name => {
                    path.push(name.to_owned());
                    self.at += 1;
                }
            }
        }
    }

    fn known(&mut self, mut path: Vec<String>, name: Option<String>, is_handed_on: bool) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let path = self.seen_from_file(path);
        let Some(last) = path.last().cloned() else { return };
        // What `use a::{b};` leaves over, at its end.
        if path.len() > 1 {
            self.room.uses.push(Use { name: name.unwrap_or(last), path, is_handed_on });
        }
    }

    fn read_path(&mut self) {
        let mut path = vec![self.token(0).to_owned()];
        self.at += 1;
        if !path[0].starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return;
        }
        while self.is_next(&[":", ":"]) && self.token(2).starts_with(|c: char| c.is_alphabetic() || c == '_')
        {
            path.push(self.token(2).to_owned());
            self.at += 3;
        }
        self.room.names.insert(path[0].clone());
        if path.len() > 1 {
            let path = self.seen_from_file(path);
            self.room.paths.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of these files, its root first.
    fn circles(name: &str, files: &[(&str, &str)]) -> Vec<String> {
        let folder = std::env::temp_dir().join(format!("circles-{name}-{}", std::process::id()));
        for (file, text) in files {
            let file = folder.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let house = House::read(&folder.join(files[0].0));
        let circles = house.circles();
        std::fs::remove_dir_all(&folder).unwrap();
        let path = |place: &Vec<String>| place.join("::");
        circles.iter().map(|circle| circle.iter().map(path).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn two_files_that_use_each_other_are_a_circle() {
        let root = ("lib.rs", "mod a; mod b;");
        let a = ("a.rs", "use crate::b::Two; pub struct One(Two);");
        assert!(circles("one-way", &[root, a, ("b.rs", "pub struct Two;")]).is_empty());
        assert_eq!(circles("back", &[root, a, ("b.rs", "use super::a::One; pub struct Two(One);")]), ["a b"]);
        assert_eq!(circles("path", &[root, a, ("b.rs", "pub struct Two(crate::a::One);")]), ["a b"]);
        assert_eq!(
            circles("group", &[root, a, ("b.rs", "use crate::{x::{y, z}, a::{self, One}};")]),
            ["a b"]
        );
    }

    #[test]
    fn a_circle_goes_through_the_names_that_a_module_hands_on() {
        let files = |middle| {
            [
                ("lib.rs", "mod a; mod b;"),
                ("a/mod.rs", middle),
                ("a/inner.rs", "use crate::b::Two; pub struct One(Two);"),
                ("b.rs", "use crate::a::One; pub struct Two(One);"),
            ]
        };
        assert_eq!(circles("hand", &files("mod inner; pub use inner::One;")), ["a::inner b"]);
        assert_eq!(circles("glob", &files("mod inner; pub use inner::*;")), ["a::inner b"]);
    }

    #[test]
    fn a_parent_that_uses_what_uses_it_is_a_circle() {
        let child = ("a/inner.rs", "use super::One; pub struct Two(One);");
        let root = ("lib.rs", "mod a;");
        let parent = |text| circles("parent", &[root, ("a/mod.rs", text), child]);
        assert_eq!(parent("mod inner; pub struct One; use inner::Two;"), ["a a::inner"]);
        assert_eq!(parent("mod inner; pub struct One; fn f() { inner::g() }"), ["a a::inner"]);
        assert_eq!(parent("mod inner; pub struct One; pub use inner::Two; fn f(_: Two) {}"), ["a a::inner"]);
        assert!(parent("mod inner; pub struct One; pub use inner::Two;").is_empty());
    }

    #[test]
    fn tests_comments_and_texts_draw_no_arrow() {
        let text = "pub struct Two; // crate::a::One
            /* use crate::a::One; */ const T: &str = \"crate::a::One\"; const R: &str = r#\"crate::a::One\"#;
            #[cfg(test)] mod tests { use super::*; use crate::a::One; fn f() { if true { crate::a::g() } } }";
        let a = ("a.rs", "use crate::b::Two; pub struct One(Two);");
        assert!(circles("tests", &[("lib.rs", "mod a; mod b;"), a, ("b.rs", text)]).is_empty());
    }

    #[test]
    fn within_a_module_of_a_file_super_is_the_file() {
        let text = "pub struct Two; mod inner { use super::super::a::One; }";
        let a = ("a.rs", "use crate::b::Two; pub struct One(Two);");
        assert_eq!(circles("inner", &[("lib.rs", "mod a; mod b;"), a, ("b.rs", text)]), ["a b"]);
    }
}
