//! `cargo xtask fuzz`: libFuzzer looks for bytes that the packet path cannot stand, guided by what they reach.
//!
//! Stable Rust does: LLVM's coverage pass is a codegen option, and libfuzzer-sys brings libFuzzer's sources. What a
//! target asserts is in `datapath-ebpf/src/testing/fuzz.rs`.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::run::{cargo, done, find, output, step, this_program, tool, workspace};

/// What cargo-fuzz passes, but for the address sanitizer: there is no unsafe code to watch, and it wants a nightly.
/// (Arithmetic that overflows panics, as in tests.)
const FLAGS: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "--cfg",
    "fuzzing",
];

/// Longest input, in bytes: two packets of an uplink's MTU or a dozen small ones would need more, but slow the search.
const LONGEST: &str = "-max_len=2000";
/// An input that takes longer, in seconds, is a fault: usual ones take a fraction of a millisecond.
const TIMEOUT: &str = "-timeout=10";
/// Memory beyond which a run is a fault, in megabytes; each input's tables go with it.
const MEMORY: &str = "-rss_limit_mb=1024";

/// What is run.
#[derive(Clone, Copy, ValueEnum)]
pub enum Target {
    /// Any bytes through every header parser
    Parse,
    /// Any packets, one after another, at the hooks of a small host
    Hooks,
}

impl Target {
    /// As `tests/fuzz` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Hooks => "hooks",
        }
    }
}

/// Builds, then lets each target run for some seconds. What it finds on the way is kept in the corpus if `keep`;
/// a seed of 0 is another one every time.
///
/// # Errors
/// When an input breaks something; the sentence names the file. When there is no C++ compiler.
pub fn run(targets: &[Target], seconds: u32, keep: bool, seed: u32) -> Result<()> {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    ensure!(
        find(&compiler).is_some() || Path::new(&compiler).is_file(),
        "a C++ compiler is missing (`{compiler}`), which libFuzzer is built with: type `sudo apt-get install g++`, \
         then run this again"
    );
    let folder = folder()?;
    let programs = step("build the fuzz targets", || build(&folder))?;
    for target in targets {
        println!("   {}: {}", target.name(), search(*target, &programs, &folder, (seconds, seed), keep)?);
    }
    Ok(())
}

/// Below cargo's target folder, where this program is too: other flags would have everything else built anew.
fn folder() -> Result<PathBuf> {
    let program = this_program()?;
    let target = program.ancestors().nth(2).context("this program is in no target folder")?;
    Ok(target.join("fuzz"))
}

/// The folder of the programs. Named as the target, the host's build scripts go without the flags.
fn build(folder: &Path) -> Result<PathBuf> {
    let host = output(tool("rustc").current_dir(workspace()).arg("-vV")).context("rustc does not start")?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    done(
        cargo()
            .args(["build", "--package", "portlane-fuzz", "--release", "--target", host, "--target-dir"])
            .arg(folder)
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}")),
    )?;
    Ok(folder.join(host).join("release"))
}

/// One target's run; its last line of numbers.
fn search(target: Target, programs: &Path, folder: &Path, (seconds, seed): (u32, u32), keep: bool) -> Result<String> {
    let (name, working) = (target.name(), Working::new(target.name())?);
    let kept = workspace().join("tests/fuzz/corpus").join(name);
    let crashes = folder.join("crashes");
    fs::create_dir_all(&crashes).with_context(|| format!("cannot create {}", crashes.display()))?;
    let log = folder.join(format!("{name}.log"));

    let fuzzer = || {
        let mut command = Command::new(programs.join(name));
        command.args([LONGEST, TIMEOUT, MEMORY]).current_dir(&working.0);
        command.arg(format!("-artifact_prefix={}/{name}-", crashes.display()));
        command
    };
    let mut command = fuzzer();
    command
        .args([format!("-max_total_time={seconds}"), format!("-seed={seed}")])
        .args([&working.0, &kept])
        .env("PORTLANE_FUZZ_SEEDS", &working.0);
    let (success, printed) = logged(&mut command, &log)?;
    if !success {
        // A panic of ours, or an end that libFuzzer makes; not how it came there.
        let fault =
            printed.lines().skip_while(|line| !line.contains(" panicked at ") && !line.contains("ERROR: libFuzzer"));
        fault.take_while(|line| !line.starts_with("NOTE: ")).for_each(|line| eprintln!("{line}"));
        match artifact(&printed) {
            Some(path) => bail!("{name}: this input breaks it: {path}"),
            None => bail!("{name} broke off: see {}", log.display()),
        }
    }
    if keep {
        // What reaches a line that nothing kept reaches; not what merely does so another number of times.
        let mut merge = fuzzer();
        merge.args(["-set_cover_merge=1", "-use_counters=0"]).args([&kept, &working.0]);
        ensure!(logged(&mut merge, &log)?.0, "the corpus could not be added to: see {}", log.display());
    }
    let last = printed.lines().rfind(|line| is_progress(line)).context("libFuzzer printed no numbers")?;
    Ok(last.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Runs a command with all that it prints in a file; whether it ended well, and what it printed.
fn logged(command: &mut Command, log: &Path) -> Result<(bool, String)> {
    let failed = || format!("cannot write {}", log.display());
    let file = File::create(log).with_context(failed)?;
    command.stdout(file.try_clone().with_context(failed)?).stderr(file);
    let status = command.status().context("cannot start what was just built")?;
    let printed = fs::read(log).with_context(failed)?;
    Ok((status.success(), String::from_utf8_lossy(&printed).into_owned()))
}

/// Whether a line is one of libFuzzer's numbers: `#65536 pulse cov: 1021 ft: 4711 …`.
fn is_progress(line: &str) -> bool {
    line.starts_with('#') && line.contains(" cov: ")
}

/// The file that libFuzzer wrote a breaking input to.
fn artifact(printed: &str) -> Option<&str> {
    printed.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path.trim()))
}

/// A folder outside the repository, for as long as this value lives.
struct Working(PathBuf);

impl Working {
    fn new(name: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("portlane-fuzz-{name}-{}", process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        // Nobody is there to be told; the folder is in the way of nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{artifact, is_progress};

    #[test]
    fn numbers_and_breaking_inputs_are_found_in_what_libfuzzer_prints() {
        assert!(is_progress("#2097152\tpulse  cov: 100 ft: 200 corp: 30/1Kb lim: 21 exec/s: 1048576 rss: 60Mb"));
        assert!(is_progress("#5\tDONE   cov: 100 ft: 200 corp: 30/1Kb"));
        assert!(!is_progress("    #5 0x55 in main"));
        let printed = "panicked\nartifact_prefix='a/b-'; Test unit written to a/b-crash-12\nBase64: AA==\n";
        assert_eq!(artifact(printed), Some("a/b-crash-12"));
        assert_eq!(artifact("Done 5 runs in 1 second(s)\n"), None);
    }
}
