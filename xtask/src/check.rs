//! `cargo xtask check`: formatting, clippy and the house rules.

use anyhow::{Result, bail};

use crate::{
    run::{cargo, done, step, workspace},
    tidy,
};

/// Everything a reviewer should not have to look for.
///
/// # Errors
/// When one of the three finds something; it has been printed.
pub fn run() -> Result<()> {
    step("formatting", || done(cargo().args(["fmt", "--all", "--check"])))?;
    step("house rules", || {
        let faults = tidy::check(&workspace())?;
        for fault in &faults {
            eprintln!("{fault}");
        }
        match faults.len() {
            0 => Ok(()),
            count => bail!("house rules broken: {count}"),
        }
    })?;
    step("clippy", || {
        let scope = ["clippy", "--workspace", "--all-targets", "--features", "portlane-tests/root"];
        done(cargo().args(scope).args(["--", "-D", "warnings"]))
    })
}
