//! Other programs: with a time limit, and with their words when they fail.

use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};

use crate::patience;

/// Longer than anything a test waits for, shorter than anybody's patience, in seconds.
const LIMIT: u64 = 60;

/// A command that is killed if it hangs.
pub(super) fn limited(words: &[String]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", &patience::seconds(LIMIT).as_secs().to_string()]).args(words).stdin(Stdio::null());
    command
}

/// What it printed, if it succeeded.
pub(super) fn finish(name: &str, output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{name}`: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
