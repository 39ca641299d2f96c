//! A run as a file.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::bench::record::{Run, SCHEMA};

/// What every version of the JSON has.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// Writes the figures for [`read`], and for other programs.
///
/// # Errors
/// When the file cannot be written.
pub fn write(run: &Run, file: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(run).context("cannot put the figures into JSON")?;
    fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// When the file cannot be read, or another version wrote it.
pub fn read(file: &Path) -> Result<Run> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("{} cannot be compared with", file.display()))
}

fn parse(text: &str) -> Result<Run> {
    let Version { schema } = serde_json::from_str(text).context("it is not what `bench --json` writes")?;
    ensure!(schema == SCHEMA, "its figures have form {schema}, those of this version have form {SCHEMA}");
    serde_json::from_str(text).context("it is not what `bench --json` writes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::sample::run;

    #[test]
    fn what_was_written_is_read_again() {
        let text = serde_json::to_string(&run()).expect("JSON");
        assert_eq!(parse(&text).expect(&text), run());
    }

    #[test]
    fn another_form_or_another_file_is_refused_in_a_sentence() {
        let told = |text: &str| format!("{:#}", parse(text).expect_err(text));
        assert!(told("{\"schema\":99,\"figures\":7}").contains("its figures have form 99"));
        assert!(told("{}").contains("it is not what `bench --json` writes"));
    }
}
