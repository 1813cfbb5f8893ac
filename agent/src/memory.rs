//! How this process asks the system for memory, and how much it has.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::os::unix::process::CommandExt;
use std::process::Command;

const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Makes glibc keep all memory in one arena by starting this program again, with the same process id, unless the
/// setting was made already. Call it first thing in `main`.
///
/// By default each thread gets an arena of its own. The page cache keeps small pieces for long among large ones that
/// are soon free again, and in several arenas they hold more than twice as much memory as they need: 541 MiB instead of
/// 238 MiB with a million records (`strongroom-sim tree`). glibc reads this setting when a program starts, and the
/// call that changes it later is not safe Rust.
pub fn use_one_arena() {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) || std::env::var_os(ARENAS).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let mut arguments = std::env::args_os();
        let mut again = Command::new(program);
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        // Returns only if it failed; then this process goes on, and takes more memory.
        let _ = again.args(arguments).env(ARENAS, "1").exec();
    }
}

/// Sees that no core dump has this process's memory. Call it before there is anything secret in it.
pub fn no_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be switched off, and would hold keys: run this with `ulimit -c 0`");
    }
    // Where cores go to a program, the limit alone does not hold.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
}

/// Keeps what is secret off the disk: no core dump has this process's memory, and, where the system sets no limit on that, none
/// of it is written to swap. Call it at the start of a daemon.
pub fn keep_off_disk() {
    no_core_dumps();
    // With a limit, memory that is asked for later would be refused.
    let may_lock = getrlimit(Resource::Memlock).current.is_none();
    if may_lock
        && let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
    {
        tracing::info!(%error, "memory is not locked: swap may hold keys");
    } else if !may_lock {
        tracing::info!(
            "memory is not locked, because the limit on that is not `unlimited` (`LimitMEMLOCK=` in systemd)"
        );
    }
}

/// How much memory a process has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resident {
    /// Its own, in bytes: heap and stacks.
    pub own_bytes: u64,
    /// What the system holds of its files for it, in bytes, such as the program: the system takes it back when memory
    /// is needed.
    pub file_bytes: u64,
}

/// How much memory a process has: this one, or the one with that id. `None` if the system does not tell.
#[must_use]
pub fn resident(process: Option<u32>) -> Option<Resident> {
    let process = process.map_or_else(|| "self".into(), |id| id.to_string());
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Resident { own_bytes: bytes("RssAnon:")?, file_bytes: bytes("RssFile:")? })
}
