//! What machines told: read line by line, printed as tables.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::{
    guest::{BEGIN, DONE, END},
    kernel::Kernel,
    suite::VERIFIER,
};
use crate::test::Count;

/// Results of one machine.
#[derive(Debug)]
pub struct Outcome {
    kernel: Kernel,
    /// By suite, in the order in which they ran.
    suites: Vec<(String, Tally)>,
    /// Verified instructions and bytes of stack, by program.
    programs: BTreeMap<String, (u64, u64)>,
    /// What test programs that failed printed, and why the machine ended.
    pub output: Vec<String>,
    /// What the one that runs has printed so far.
    running: Vec<String>,
    /// Whether the machine came to its end.
    pub done: bool,
}

/// What a suite's programs add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    passed: u32,
    failed: u32,
    /// Programs that ended badly.
    broken: u32,
    seconds: f32,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.broken += other.broken;
        self.seconds += other.seconds;
    }
}

impl Outcome {
    /// Of a machine that has told nothing yet.
    pub fn new(kernel: &Kernel) -> Self {
        let (suites, programs) = (Vec::new(), BTreeMap::new());
        Self { kernel: kernel.clone(), suites, programs, output: Vec::new(), running: Vec::new(), done: false }
    }

    /// Of a machine that could not be started.
    pub fn broken(kernel: &Kernel, error: &anyhow::Error) -> Self {
        Self { output: vec![format!("{error:#}")], ..Self::new(kernel) }
    }

    /// Takes in what another machine with the same kernel told.
    pub fn join(&mut self, other: Self) {
        for (name, tally) in other.suites {
            match self.suites.iter_mut().find(|(own, _)| *own == name) {
                Some((_, own)) => own.add(tally),
                None => self.suites.push((name, tally)),
            }
        }
        self.programs.extend(other.programs);
        self.output.extend(other.output);
        self.running.extend(other.running);
        self.done &= other.done;
    }

    /// Takes in a line of the guest's; at the end of a test program, what is to be said of it at once.
    pub fn read(&mut self, line: &str) -> Option<String> {
        if line == DONE {
            self.done = true;
            return None;
        }
        if let Some((suite, _)) = line.strip_prefix(BEGIN).and_then(|begin| begin.split_once('\t')) {
            self.running = vec![line.to_owned()];
            if self.suites.last().is_none_or(|(last, _)| last != suite) {
                self.suites.push((suite.to_owned(), Tally::default()));
            }
        } else if let Some((verdict, seconds)) = line.strip_prefix(END).and_then(|end| end.split_once('\t')) {
            let printed = std::mem::take(&mut self.running);
            let (_, tally) = self.suites.last_mut()?;
            tally.seconds += seconds.parse::<f32>().unwrap_or(0.0);
            let program = printed.first().and_then(|begin| begin.split('\t').nth(1)).unwrap_or_default();
            let news = format!("{program}: {verdict} in {seconds} s");
            if verdict != "ok" {
                tally.broken += 1;
                self.output.extend(printed);
            }
            return Some(news);
        } else {
            self.result(line);
            self.running.push(line.to_owned());
        }
        None
    }

    fn result(&mut self, line: &str) {
        let Some((suite, tally)) = self.suites.last_mut() else { return };
        if let Some(count) = Count::parse(line) {
            tally.passed += count.passed;
            tally.failed += count.failed;
        }
        // `name instructions stack code`, as the test prints it.
        if suite == VERIFIER
            && let [name, instructions, stack, _] = *line.split_whitespace().collect::<Vec<_>>()
            && let (Ok(instructions), Ok(stack)) = (instructions.parse(), stack.parse())
        {
            self.programs.insert(name.to_owned(), (instructions, stack));
        }
    }

    fn passed(&self) -> u32 {
        self.suites.iter().map(|(_, tally)| tally.passed).sum()
    }

    fn is_good(&self) -> bool {
        let bad = |tally: &Tally| tally.failed + tally.broken > 0 || tally.passed == 0;
        self.done && self.passed() > 0 && !self.suites.iter().any(|(_, tally)| bad(tally))
    }

    /// In a few words.
    pub fn verdict(&self) -> String {
        let failed: u32 = self.suites.iter().map(|(_, tally)| tally.failed).sum();
        match self.is_good() {
            true => format!("{} tests passed", self.passed()),
            false if !self.done => "the machine did not come to its end".to_owned(),
            false if self.passed() + failed == 0 => "no test ran".to_owned(),
            false => format!("{} tests passed, {failed} FAILED", self.passed()),
        }
    }
}

/// Prints what failed, then kernel × suite, then program × kernel.
pub fn print(outcomes: &[Outcome]) {
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_good()) {
        println!("── Linux {} ({})", outcome.kernel.name, outcome.kernel.release);
        outcome.output.iter().chain(&outcome.running).for_each(|line| println!("{line}"));
    }
    let mut rows = vec![["KERNEL", "RELEASE", "SUITE", "PASSED", "FAILED", "SECONDS"].map(str::to_owned).to_vec()];
    for Outcome { kernel, suites, done, .. } in outcomes {
        for (suite, tally) in suites {
            let failed = if tally.broken > 0 { tally.failed.max(1) } else { tally.failed };
            let cells = [kernel.name.clone(), kernel.release.clone(), suite.clone()];
            let numbers = [tally.passed.to_string(), failed.to_string(), format!("{:.0}", tally.seconds)];
            rows.push(cells.into_iter().chain(numbers).collect());
        }
        if !done {
            let ended = ["(ended early)", "0", "1", ""].map(str::to_owned);
            rows.push([kernel.name.clone(), kernel.release.clone()].into_iter().chain(ended).collect());
        }
    }
    columns(&rows);

    let verified: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.programs.is_empty()).collect();
    if verified.is_empty() {
        return;
    }
    println!("verified instructions, bytes of stack:");
    let header = ["PROGRAM".to_owned()].into_iter().chain(verified.iter().map(|outcome| outcome.kernel.name.clone()));
    let mut rows = vec![header.collect::<Vec<_>>()];
    let names: BTreeSet<&String> = verified.iter().flat_map(|outcome| outcome.programs.keys()).collect();
    for name in names {
        let cost = |outcome: &&Outcome| {
            outcome.programs.get(name).map_or_else(|| "-".to_owned(), |(insns, stack)| format!("{insns}, {stack}"))
        };
        rows.push([name.clone()].into_iter().chain(verified.iter().map(cost)).collect());
    }
    columns(&rows);
}

fn columns(rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len))
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("   {}", cells.collect::<Vec<_>>().join("   ").trim_end());
    }
}

/// # Errors
/// A machine's tests failed, or none ran.
pub fn verdict(outcomes: &[Outcome]) -> Result<()> {
    let bad: Vec<&str> = outcomes.iter().filter(|o| !o.is_good()).map(|outcome| &*outcome.kernel.name).collect();
    ensure!(bad.is_empty(), "Linux {}: not all tests passed", bad.join(", "));
    Ok(())
}
