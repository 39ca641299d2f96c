//! What the programs cost the verifier, and the stack: printed, so that a change that costs much is seen.
#![cfg(feature = "root")]

use std::{collections::BTreeMap, fs, io::Write, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use portlane_tests::program::test;

/// `BPF_COMPLEXITY_LIMIT_INSNS`: the verifier gives up on a program after so many.
const MOST_INSTRUCTIONS: u32 = 1_000_000;
/// `MAX_BPF_STACK`, in bytes: a program's frame and those of the functions that it calls, one inside the other.
const MOST_STACK: usize = 512;

/// What bpftool needs to know of the kernel's symbols.
const NAMES: [&str; 2] = ["__bpf_call_base", "bpf_timer_set_callback"];

/// A function of a program, as `bpftool prog dump xlated` shows it.
#[derive(Debug, Default)]
struct Function {
    /// Bytes of its own frame.
    frame: usize,
    /// Numbers of the instructions that it calls, or has a helper call.
    calls: Vec<usize>,
    /// Numbers of those that it has a timer call.
    timers: Vec<usize>,
}

#[test]
fn every_program_is_far_from_the_verifiers_limits() -> Result<()> {
    test("verifier", |programs| {
        know_few_symbols()?;
        let mut out = std::io::stdout();
        let mut bad = Vec::new();
        writeln!(
            out,
            "    {:<16} {:>22} {:>12} {:>12}",
            "program", "verified instructions", "stack bytes", "machine code"
        )?;
        for program in programs.datapath().programs()? {
            let pin = programs.datapath().bpffs().join("progs").join(&program.name);
            let functions = functions(&pin)?;
            // A timer's callback runs by itself, later.
            let begins = functions.values().flat_map(|function| &function.timers).chain([&0]);
            let stack = begins.map(|begin| deepest(&functions, *begin)).max().unwrap_or(0);
            let (name, verified) = (&program.name, program.verified_insns);
            writeln!(out, "    {name:<16} {verified:>22} {stack:>12} {:>12}", program.jited_bytes)?;
            // Linux 6.1 takes two to five times as many as later ones.
            let fits = verified > 0 && verified < MOST_INSTRUCTIONS / 4 * 3 && stack <= MOST_STACK;
            if !fits {
                bad.push(format!("{name}: {verified} instructions, {stack} bytes of stack"));
            }
        }
        ensure!(bad.is_empty(), "too much, or not told by the kernel: {}", bad.join("; "));
        Ok(())
    })
}

/// bpftool reads and sorts all names in the kernel for each program, which takes long in an emulated machine. Here it shall
/// know two: what others are told from, and the one that is looked for below.
fn know_few_symbols() -> Result<()> {
    let (symbols, few) = ("/proc/kallsyms", "/run/few_symbols");
    let wanted = |line: &&str| line.split_whitespace().nth(2).is_some_and(|name| NAMES.contains(&name));
    let kept: String = fs::read_to_string(symbols)?.lines().filter(wanted).map(|line| format!("{line}\n")).collect();
    fs::write(few, kept)?;
    // The sandbox's own /proc.
    mount(Some(few), symbols, None::<&str>, MsFlags::MS_BIND, None::<&str>).context("cannot cover /proc/kallsyms")
}

/// By the number of their first instruction.
fn functions(pin: &Path) -> Result<BTreeMap<usize, Function>> {
    let output = Command::new("bpftool").args(["prog", "dump", "xlated", "pinned"]).arg(pin).output()?;
    ensure!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let mut functions = BTreeMap::new();
    let mut current: Option<(usize, Function)> = None;
    let mut begins = true;
    // Lines of source, which begin with a semicolon, are between the instructions.
    for line in text.lines().filter(|line| !line.starts_with(';')) {
        let Some((number, instruction)) = line.trim_start().split_once(": (") else {
            begins |= line.ends_with("):");
            continue;
        };
        let number: usize = number.parse().with_context(|| line.to_owned())?;
        if std::mem::take(&mut begins) {
            functions.extend(current.replace((number, Function::default())));
        }
        let (_, function) = current.as_mut().context("an instruction outside a function")?;
        function.frame = function.frame.max(below_frame(instruction).unwrap_or(0));
        // A call, or the address of a function that a helper calls (`r2 = subprog[+127]`).
        let offset = instruction.split("call pc").nth(1).and_then(|rest| rest.split('#').next());
        let callback = instruction.split("subprog[").nth(1).and_then(|rest| rest.split(']').next());
        if let Some(offset) = offset.or(callback) {
            let target = number as i64 + 1 + offset.parse::<i64>().with_context(|| line.to_owned())?;
            function.calls.push(usize::try_from(target)?);
        }
        if instruction.contains("call bpf_timer_set_callback") {
            function.timers.extend(function.calls.pop());
        }
    }
    functions.extend(current);
    Ok(functions)
}

/// How far below the frame pointer an instruction reaches: `*(u64 *)(r10 -64)`, or `r2 += -52`, which is the frame's
/// unless it is some number's, and then it counts too much rather than too little.
fn below_frame(instruction: &str) -> Option<usize> {
    let after = instruction.split("(r10 -").nth(1).or_else(|| instruction.split(" += -").nth(1))?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|depth| *depth <= MOST_STACK)
}

/// The deepest pile of frames from a function on. Older kernels round each up to 32 bytes, an empty
/// one too.
fn deepest(functions: &BTreeMap<usize, Function>, from: usize) -> usize {
    let Some(function) = functions.get(&from) else { return 0 };
    let below = function.calls.iter().map(|call| deepest(functions, *call)).max().unwrap_or(0);
    function.frame.max(1).next_multiple_of(32) + below
}
