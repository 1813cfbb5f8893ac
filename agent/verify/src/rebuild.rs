//! The image that sources make, and its digest.
//!
//! Runs the program that the sources bring along, `hsm/firmware/build.sh`: whoever gives a folder trusts what is in it as far as to run it.

use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use strongroom_proto::ids::BuildDigest;
use tokio::process::Command;

/// The longest image, in bytes.
const MAX_IMAGE: u64 = 64 * 1024 * 1024;
/// How much of what a failed build said is shown, in bytes.
const SAID: usize = 2000;

/// The digest of the image that the sources in `folder` make, as a device states it. The folder is not written to.
///
/// # Errors
/// Why it could not be built.
pub(crate) async fn digest(folder: &Path) -> Result<BuildDigest, String> {
    let script = folder.join("hsm/firmware/build.sh");
    if !script.is_file() {
        return Err(format!(
            "{} has no hsm/firmware/build.sh; give the root of the sources",
            folder.display()
        ));
    }
    let failed = |error: std::io::Error| format!("{} cannot be built: {error}", folder.display());
    let out = tempfile::tempdir().map_err(failed)?;
    let log = out.path().join("said");
    let said = File::create(&log).map_err(failed)?;
    let status = Command::new("bash")
        .arg(&script)
        .arg("virt")
        .arg(out.path())
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(failed)?)
        .stderr(said)
        .kill_on_drop(true)
        .status()
        .await
        .map_err(failed)?;
    if !status.success() {
        let said = std::fs::read(&log).map_err(failed)?;
        let end = said.get(said.len().saturating_sub(SAID)..).unwrap_or(&said);
        return Err(format!("{} cannot be built: {}", folder.display(), String::from_utf8_lossy(end).trim()));
    }
    let mut image = Vec::new();
    let file = File::open(out.path().join("strongroom-hsm.bin")).map_err(failed)?;
    file.take(MAX_IMAGE + 1).read_to_end(&mut image).map_err(failed)?;
    if image.is_empty() || image.len() as u64 > MAX_IMAGE {
        return Err(format!("{} makes no image of 1 to {MAX_IMAGE} bytes", folder.display()));
    }
    Ok(BuildDigest(Sha256::digest(&image).into()))
}
