//! Where the programs are that a run starts.

use crate::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAMES: [&str; 2] = ["strongroom-hsm", "strongroom-agent"];

/// The programs of a host, copied to a place where no build replaces them while they run.
#[derive(Clone, Debug)]
pub struct Programs {
    pub(super) hsm: PathBuf,
    pub(super) agent: PathBuf,
    /// The folder that they were copied from.
    pub from: PathBuf,
}

impl Programs {
    /// Copies the programs into `to`: those next to this program, or else those that cargo builds now.
    ///
    /// # Errors
    /// They are missing, and cargo cannot build them.
    pub fn find(to: &Path) -> Result<Self, Error> {
        let own = std::env::current_exe()?;
        // Test programs are one folder further down.
        let beside = own.ancestors().skip(1).take(2).find(|folder| has_all(folder)).map(Path::to_owned);
        let from = match beside {
            Some(folder) => folder,
            None => build(&own)?,
        };
        std::fs::create_dir_all(to)?;
        let [hsm, agent] = NAMES.map(|name| (from.join(name), to.join(name)));
        for (from, to) in [&hsm, &agent] {
            std::fs::copy(from, to).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
        }
        Ok(Self { hsm: hsm.1, agent: agent.1, from })
    }
}

fn has_all(folder: &Path) -> bool {
    NAMES.iter().all(|name| folder.join(name).is_file())
}

/// Has cargo build them the way that this program was built.
fn build(own: &Path) -> Result<PathBuf, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no folder")?;
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.current_dir(root).args(["build", "--locked", "--quiet", "--bins"]);
    cargo.args(["-p", "strongroom-agent", "-p", "strongroom-hsm-software"]);
    let optimised = !cfg!(debug_assertions);
    if optimised {
        cargo.arg("--release");
    }
    let made = cargo.status().is_ok_and(|status| status.success());
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = root.join(target).join(if optimised { "release" } else { "debug" });
    if made && has_all(&folder) {
        return Ok(folder);
    }
    let wanted = NAMES.join(" and ");
    Err(format!("{wanted} are not beside {} and cannot be built; run `cargo build` first", own.display())
        .into())
}
