//! The programs that machines run: built here, put on a disk without what only debuggers read.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::disk;
use crate::run::{built, cargo, done, output, tool, workspace};

/// Beside the test programs, on the disk as in a target folder.
const BESIDE: [&str; 3] = ["portlane", "xtask", "peer"];

/// Test programs, by name.
#[derive(Debug)]
pub struct Programs {
    tests: Vec<(String, PathBuf)>,
}

/// Builds portlane, its test programs, and this program.
///
/// # Errors
/// cargo fails.
pub fn build(broken: bool) -> Result<Programs> {
    let feature: &[&str] = if broken { &["--features", "portlane/broken"] } else { &[] };
    // As `cargo xtask test` builds it, or cargo would build it twice.
    done(cargo().args([&["build", "--workspace"][..], feature].concat()))?;
    let features = if broken { "root,broken" } else { "root" };
    let tests = ["test", "--package", "portlane-tests", "--features", features, "--tests", "--no-run"];
    done(cargo().args(tests))?;
    // Asked again, it has nothing to build and tells where everything is.
    let mut list = cargo();
    list.args(tests).args(["--message-format", "json"]).stderr(Stdio::null());
    let told = output(&mut list).context("cargo does not list the test programs")?;
    let tests: Vec<(String, PathBuf)> = told.lines().filter_map(executable).collect();
    ensure!(!tests.is_empty(), "cargo built no test program");
    Ok(Programs { tests })
}

/// Name and path of a program of `tests/tests`, if cargo's message tells of one.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let path = field(message, "\"executable\":\"")?;
    let source = field(message, "\"src_path\":\"")?;
    let file = Path::new(source);
    let in_tests = file.parent().is_some_and(|folder| folder.ends_with("tests/tests"));
    Some((in_tests.then(|| file.file_stem())??.to_string_lossy().into_owned(), path.into()))
}

fn field<'a>(message: &'a str, begin: &str) -> Option<&'a str> {
    message.split(begin).nth(1)?.split('"').next()
}

impl Programs {
    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tests.iter().any(|(test, _)| test == name)
    }

    /// Those with a test that has this in its name.
    ///
    /// # Errors
    /// One does not list its tests.
    pub fn with_test(&self, part: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for (name, path) in &self.tests {
            let listed = output(Command::new(path).args(["--list", "--format", "terse"]));
            let listed = listed.with_context(|| format!("{name} does not list its tests"))?;
            if listed.lines().any(|test| test.contains(part)) {
                found.push(name.clone());
            }
        }
        Ok(found)
    }

    /// A disk with all of them and the jobs for the guest.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn disk(&self, jobs: &str) -> Result<PathBuf> {
        let folder = built("vm")?;
        drop(fs::remove_dir_all(&folder));
        let root = folder.join("programs");
        fs::create_dir_all(root.join("deps"))?;
        for name in BESIDE {
            strip(&built(name)?, &root.join(name))?;
        }
        for (name, path) in &self.tests {
            strip(path, &root.join("deps").join(name))?;
        }
        done(tool("cp").arg("-r").arg(workspace().join("tests/src/scripts")).arg(&root))?;
        fs::write(root.join("jobs"), jobs)?;
        let disk = folder.join("programs.ext4");
        disk::make(&root, &disk)?;
        Ok(disk)
    }
}

fn strip(from: &Path, to: &Path) -> Result<()> {
    done(tool("strip").arg("--strip-debug").arg("-o").arg(to).arg(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_in_what_cargo_tells() {
        let message = |source: &str| {
            format!(r#"{{"target":{{"name":"publish","src_path":"{source}"}},"executable":"/t/deps/publish-1a"}}"#)
        };
        let found = executable(&message("/src/tests/tests/publish.rs"));
        assert_eq!(found, Some(("publish".to_owned(), "/t/deps/publish-1a".into())));
        assert_eq!(executable(&message("/src/tests/src/lib.rs")), None);
        assert_eq!(executable(r#"{"executable":null,"src_path":"/src/tests/tests/publish.rs"}"#), None);
    }
}
