//! `cargo xtask test`: every test there is. The root tests run for real or fail: none is skipped.

use std::{
    io::{self, BufRead, BufReader, IsTerminal, Write},
    ops::AddAssign,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use nix::unistd::Uid;

use crate::{
    check,
    fuzz::{self, Target},
    run::{built, cargo, done, step, this_program},
    setup,
    vm::{self, Choice},
};

/// How long each fuzz target runs: the kept corpus, and a little further.
const FUZZ_SECONDS: u32 = 10;
/// The same inputs every time: what is new is looked for with `cargo xtask fuzz`.
const FUZZ_SEED: u32 = 1;

/// Setup, check, then all tests whose names contain `filter`; without one, also in virtual machines with other kernels.
///
/// # Errors
/// When a step fails, a test fails, or a root test does not run.
pub fn run(filter: Option<&str>, all_kernels: bool) -> Result<()> {
    let start = Instant::now();
    step("setup", setup::run)?;
    ensure!(Uid::effective().is_root(), "the root tests need root; `cargo test --workspace` runs the others");
    check::run()?;

    let rootless = step("rootless tests", || counted(cargo().args(["test", "--workspace", "--no-fail-fast"]), filter))?;
    let targets: Vec<Target> =
        Target::value_variants().iter().copied().filter(|target| chosen(*target, filter)).collect();
    let fuzzed = step("fuzzing", || fuzz::run(&targets, FUZZ_SECONDS, false, FUZZ_SEED));
    step("build portlane", || done(cargo().args(["build", "--workspace"])))?;
    let root = step("root tests", || counted(&mut root_tests()?, filter))?;

    let kernels: &[&str] = if all_kernels { &vm::MATRIX } else { &vm::ENDS };
    let machines = if filter.is_none() { vm::matrix(kernels, &Choice::Kernels, false) } else { Ok(()) };

    println!("── summary");
    println!("   rootless: {rootless}");
    println!("   root:     {root}");
    if filter.is_none() {
        let verdict = if machines.is_ok() { "passed" } else { "FAILED" };
        println!("   kernels:  {} {verdict}", kernels.join(", "));
    }
    println!("   {:.0} s in all", start.elapsed().as_secs_f32());
    fuzzed?;
    ensure!(root.ignored == 0, "{} root tests are ignored: a root test runs or fails", root.ignored);
    ensure!(rootless.failed + root.failed == 0, "{} tests failed", rootless.failed + root.failed);
    ensure!(rootless.success && root.success, "a test program could not be built or broke off");
    machines?;
    match filter {
        Some(filter) => ensure!(rootless.ran() + root.ran() > 0, "no test's name contains `{filter}`"),
        None => ensure!(root.ran() > 0, "no root test ran"),
    }
    Ok(())
}

/// Whether a fuzz target is among the tests that were asked for.
fn chosen(target: Target, filter: Option<&str>) -> bool {
    filter.is_none_or(|filter| target.name().contains(filter))
}

/// Each test program of the tests package is started by cargo inside a sandbox.
fn root_tests() -> Result<Command> {
    let xtask = this_program()?;
    let runner = format!("target.'cfg(all())'.runner=[{:?},\"sandbox\",\"--\"]", xtask.to_string_lossy());
    let mut command = cargo();
    command
        .args(["test", "--package", "portlane-tests", "--features", "root", "--tests", "--no-fail-fast"])
        .args(["--config", &runner])
        .env("PORTLANE_BIN", built("portlane")?);
    Ok(command)
}

/// Runs `cargo test`, lets everything through to the reader, and counts.
fn counted(command: &mut Command, filter: Option<&str>) -> Result<Count> {
    // Two at a time: the machines that run this have two processors, and timings inside tests should mean something.
    command.args(["--", "--test-threads=2"]).args(filter);
    if io::stdout().is_terminal() {
        command.arg("--color=always");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut count = Count::default();
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("cannot read cargo's output")? > 0 {
        io::stdout().write_all(&line).context("cannot write to stdout")?;
        if let Some(result) = Count::parse(&String::from_utf8_lossy(&line)) {
            count += result;
        }
        line.clear();
    }
    count.success = child.wait().context("cannot wait for cargo")?.success();
    if !count.success && count.failed == 0 && count.ran() == 0 {
        bail!("no test could be built");
    }
    Ok(count)
}

/// What the result lines of some test programs add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that did.
    pub passed: u32,
    /// Tests that did not.
    pub failed: u32,
    ignored: u32,
    success: bool,
}

impl Count {
    /// Reads libtest's `test result: ok. 3 passed; 0 failed; 1 ignored; …`, coloured or not.
    pub fn parse(line: &str) -> Option<Self> {
        let result = line.strip_prefix("test result: ")?;
        let number = |word: &str| {
            let before = result.split(';').find_map(|part| part.trim_end().strip_suffix(word))?;
            before.split_whitespace().last()?.parse().ok()
        };
        Some(Self {
            passed: number(" passed")?,
            failed: number(" failed")?,
            ignored: number(" ignored")?,
            success: false,
        })
    }

    fn ran(&self) -> u32 {
        self.passed + self.failed
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} ignored", self.passed, self.failed, self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn result_lines_are_counted_with_and_without_colour() {
        let expected = Some(Count { passed: 12, failed: 1, ignored: 2, success: false });
        let plain = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0s\n";
        assert_eq!(Count::parse(plain), expected);
        let colour = "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 12 passed; 1 failed; 2 ignored; 0 measured\n";
        assert_eq!(Count::parse(colour), expected);
        assert_eq!(Count::parse("test a_test_result ... ok\n"), None);
    }
}
