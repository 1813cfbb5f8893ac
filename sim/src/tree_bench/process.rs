//! What the system tells of this process and of a folder.

use std::path::Path;
use std::time::Duration;

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(super) fn system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {} {}", std::env::consts::OS, release.trim(), std::env::consts::ARCH)
}

/// Memory of this process in MiB, now and at most, if the system tells.
pub(super) fn memory() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let of = |name: &str| {
        let kib = status.lines().find_map(|line| line.strip_prefix(name))?;
        kib.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib >> 10)
    };
    Some((of("VmRSS:")?, of("VmHWM:")?))
}

/// What it says.
pub(super) fn told_memory() -> String {
    memory().map_or_else(|| "?".into(), |(now, most)| format!("{now} MiB now, {most} MiB at most"))
}

/// Processor time of this process in user and system mode, if the system tells. It counts in hundredths of a second.
pub(super) fn processor() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may hold anything.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    Some(Duration::from_millis(10 * (fields.next()? + fields.next()?)))
}

/// How many bytes the files of a folder have. They may come and go meanwhile.
pub(super) fn disk_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += disk_bytes(&entry.path())?,
            Ok(found) => bytes += found.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}
