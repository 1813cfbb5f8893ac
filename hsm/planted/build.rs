//! Makes the copy of the core in which rules can be left out: the sources that ship, with the patches of `bugs/` applied.
//!
//! A patch is matched against the source as it ships, to the letter, and must fit in exactly one place. One that no longer
//! fits ends the build: its rule was changed, and somebody has to say anew how it would be left out. `bugs/README.md` has
//! the format.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the sources are taken from if not from this tree: mutation testing changes the core that ships, and not the copy.
const SOURCE: &str = "STRONGROOM_PLANTED_SOURCE";

/// Modules of the core that hold no rule. The copy has those of the crate that ships, so that both run on the same devices.
const SHARED: [(&str, &str); 6] = [
    ("config.rs", "pub use strongroom_hsm::Config;"),
    ("env.rs", "pub use strongroom_hsm::Env;"),
    ("flash.rs", "pub use strongroom_hsm::{Flash, FlashError, Geometry};"),
    ("start_error.rs", "pub use strongroom_hsm::StartError;"),
    ("nvram/error.rs", "pub use strongroom_hsm::nvram::NvramError;"),
    ("drbg.rs", ""),
];

/// Modules of the core that nothing in it uses.
const UNUSED: [&str; 2] = ["drbg.rs", "entropy.rs"];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-env-changed={SOURCE}");
    let root = env::var_os(SOURCE).map_or_else(|| here.join("../.."), PathBuf::from);
    watch(&here.join("bugs"));

    let mut copy = Copy { files: Vec::new() };
    copy.read(&root, "hsm/src");
    copy.read(&root, "proto/src/tree");
    copy.read_file(&root, "proto/src/tree.rs");

    let is_patches = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "diff");
    let all: Vec<Patches> = files_of(&here.join("bugs"))
        .into_iter()
        .filter(is_patches)
        .map(|path| Patches::parse(&path))
        .collect();
    check(&all);
    all.iter().for_each(|patches| copy.apply(patches));
    copy.write(&out.join("copy"));
    write(&out.join("bugs.rs"), &enumeration(&all));
}

/// The sources, by their paths from the root of the repository.
struct Copy {
    files: Vec<(String, String)>,
}

impl Copy {
    fn read(&mut self, root: &Path, folder: &str) {
        watch(&root.join(folder));
        for path in files_of(&root.join(folder)) {
            let name = path.strip_prefix(root.join(folder)).expect("it is in there");
            let name = name.to_str().expect("sources have plain names");
            self.read_file(root, &format!("{folder}/{name}"));
        }
    }

    fn read_file(&mut self, root: &Path, name: &str) {
        watch(&root.join(name));
        let text = read(&root.join(name));
        // Unit tests are run where the core is.
        let code = text.find("\n#[cfg(test)]\nmod tests {").map_or(&*text, |tests| &text[..=tests]);
        self.files.push((name.to_string(), code.to_string()));
    }

    /// Applies the patches of one source, each to the source as it was before any of them.
    fn apply(&mut self, patches: &Patches) {
        let Some((_, text)) = self.files.iter_mut().find(|(name, _)| *name == patches.source) else {
            panic!("{}: there is no {} among what is copied", patches.path, patches.source);
        };
        let mut places: Vec<(usize, usize, &Hunk)> = Vec::new();
        for hunk in &patches.hunks {
            let found: Vec<usize> = text
                .match_indices(&hunk.old)
                .map(|(at, _)| at)
                .filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n')
                .collect();
            let [at] = found.as_slice() else {
                panic!(
                    "{}: the patch of {} does not apply to {}: its old text is there {} times, not once. If the rule \
                     was changed, say anew how it is left out. The old text is:\n{}",
                    patches.path,
                    hunk.bugs.join(", "),
                    patches.source,
                    found.len(),
                    hunk.old
                );
            };
            places.push((*at, at + hunk.old.len(), hunk));
        }
        places.sort_unstable_by_key(|(at, ..)| *at);
        for pair in places.windows(2) {
            assert!(
                pair[0].1 <= pair[1].0,
                "{}: the patches of {} and of {} change the same lines: make them one",
                patches.path,
                pair[0].2.bugs.join(", "),
                pair[1].2.bugs.join(", ")
            );
        }
        for (from, to, hunk) in places.into_iter().rev() {
            text.replace_range(from..to, &hunk.new);
        }
    }

    /// Writes the modules, and the file that names them.
    fn write(&self, folder: &Path) {
        let _ = fs::remove_dir_all(folder);
        for (name, text) in &self.files {
            let name = name
                .strip_prefix("hsm/src/")
                .or_else(|| name.strip_prefix("proto/src/"))
                .expect("one of both");
            let shared = SHARED.iter().find(|(shared, _)| *shared == name);
            match name {
                "lib.rs" => write(&folder.join("mod.rs"), &modules(text)),
                _ if UNUSED.contains(&name) => {}
                _ => {
                    // The copy is no crate but a module.
                    let text = text.replace("crate::", "crate::copy::");
                    write(&folder.join(name), shared.map_or(&text, |(_, instead)| instead));
                }
            }
        }
    }
}

/// The modules that the core's `lib.rs` names, and what those of the tree find at the root of their own crate.
fn modules(lib: &str) -> String {
    let is_module = |line: &&str| line.trim_start_matches("pub ").starts_with("mod ");
    let is_used = |line: &&str| !UNUSED.iter().any(|name| line.contains(&name.replace(".rs", ";")));
    let mut modules =
        String::from("use strongroom_proto::{bounded, hash, ids, prefix};\npub(crate) mod tree;\n");
    for line in lib.lines().filter(is_module).filter(is_used) {
        writeln!(modules, "pub(crate) {}", line.trim_start_matches("pub ")).expect("a string takes all text");
    }
    modules
}

/// Whether every bug is defined once and asked for, and every patch asks for bugs that it is headed with.
fn check(all: &[Patches]) {
    let asks = |hunk: &Hunk, bug: &str| hunk.new.contains(&format!("planted!({bug})"));
    let named: Vec<&str> =
        all.iter().flat_map(|patches| &patches.bugs).map(|bug| bug.name.as_str()).collect();
    for patches in all {
        let path = &patches.path;
        for bug in &patches.bugs {
            let name = &bug.name;
            assert_eq!(
                named.iter().filter(|other| *other == name).count(),
                1,
                "{path}: {name} is defined twice"
            );
            let mut hunks = all.iter().flat_map(|patches| &patches.hunks);
            assert!(hunks.any(|hunk| asks(hunk, name)), "{path}: no patch asks whether {name} is planted");
        }
        for hunk in &patches.hunks {
            for bug in &hunk.bugs {
                assert!(named.contains(&bug.as_str()), "{path}: {bug} is defined nowhere");
            }
            for (at, _) in hunk.new.match_indices("planted!(") {
                let name = hunk.new[at..].split(['(', ')']).nth(1).unwrap_or_default();
                assert!(
                    hunk.bugs.iter().any(|bug| bug == name),
                    "{path}: {name} is in no heading of its patch"
                );
            }
        }
    }
}

/// The enumeration of all bugs.
fn enumeration(all: &[Patches]) -> String {
    let bugs = || all.iter().flat_map(|patches| patches.bugs.iter().map(|bug| (bug, &patches.source)));
    let mut code = String::new();
    let mut line = |text: &str| writeln!(code, "{text}").expect("a string takes all text");
    line("/// One rule that can be left out.");
    line("#[derive(Clone, Copy, PartialEq, Eq, Debug)]");
    line("pub enum Bug {");
    bugs().for_each(|(bug, _)| line(&format!("    /// {}\n    {},", bug.what, bug.name)));
    line("}\n\nimpl Bug {\n    /// All of them.\n    pub const ALL: &[Self] = &[");
    bugs().for_each(|(bug, _)| line(&format!("        Self::{},", bug.name)));
    line(
        "    ];\n\n    /// The file that has the rule.\n    #[must_use]\n    #[allow(clippy::too_many_lines)]",
    );
    line("    pub const fn source(self) -> &'static str {\n        match self {");
    bugs().for_each(|(bug, source)| line(&format!("            Self::{} => \"{source}\",", bug.name)));
    line("        }\n    }\n}");
    code
}

struct Bug {
    name: String,
    /// What is left out, in a sentence.
    what: String,
}

/// What replaces what.
struct Hunk {
    bugs: Vec<String>,
    old: String,
    new: String,
}

/// One file of `bugs/`.
struct Patches {
    path: String,
    source: String,
    bugs: Vec<Bug>,
    hunks: Vec<Hunk>,
}

impl Patches {
    fn parse(path: &Path) -> Self {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let mut patches = Self {
            path: format!("hsm/planted/bugs/{name}"),
            source: String::new(),
            bugs: vec![],
            hunks: vec![],
        };
        let text = read(path);
        // The bugs that the hunks to come are of, and whether there was one.
        let (mut of, mut begun) = (Vec::new(), false);
        let mut hunk: Option<Hunk> = None;
        for line in text.lines() {
            let kind = line.chars().next();
            if let Some(hunk) = hunk.as_mut().filter(|_| matches!(kind, Some(' ' | '-' | '+'))) {
                hunk.take(line);
                continue;
            }
            patches.hunks.extend(hunk.take());
            if let Some(source) = line.strip_prefix("--- ") {
                patches.source = source.to_string();
            } else if line.starts_with("@@") {
                begun = true;
                hunk = Some(Hunk { bugs: of.clone(), old: String::new(), new: String::new() });
            } else if let Some(heading) = line.strip_prefix("bug ") {
                if std::mem::take(&mut begun) {
                    of.clear();
                }
                let (name, what) = heading.split_once(": ").unwrap_or((heading, ""));
                of.push(name.to_string());
                if !what.is_empty() {
                    patches.bugs.push(Bug { name: name.to_string(), what: what.to_string() });
                }
            } else {
                assert!(line.is_empty() || of.is_empty(), "{}: not of the format: {line}", patches.path);
            }
        }
        patches.hunks.extend(hunk);
        patches
    }
}

impl Hunk {
    fn take(&mut self, line: &str) {
        let (kind, text) = line.split_at(1);
        for (skipped, side) in [("+", &mut self.old), ("-", &mut self.new)] {
            if kind != skipped {
                side.push_str(text);
                side.push('\n');
            }
        }
    }
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).path();
        if path.is_dir() { files.extend(files_of(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn write(path: &Path, text: &str) {
    let folder = path.parent().expect("a file is in a folder");
    fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
