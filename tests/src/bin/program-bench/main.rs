//! What the loaded programs cost a packet (`BPF_PROG_TEST_RUN` with repetition), with many ports published and many flows
//! known, and how many flows they open a second until their tables are full, and beyond.
//!
//! Prints a line of JSON for each figure. It belongs into a sandbox: `cargo xtask bench` starts it there.

use std::{
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

use anyhow::{Context, Result, bail, ensure};
use figure::{Figure, family, median};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use opening::{Opener, fill};
use portlane::{
    bpf::LoadSettings,
    linux::bpf_run::{self, Sum},
};
use portlane_common::family::{V4, V6};
use portlane_tests::program::{Programs, sk_buff, tc, test_with};
use published::Published;
use ring::{Kept, RUNS, Ring};
use way::Way;

mod figure;
mod opening;
mod published;
mod ring;
mod way;

const USAGE: &str = "usage: program-bench [--quick]   (inside `cargo xtask sandbox`)";

/// Of an empty program, and of what is left when that is subtracted.
const A_RUN: &str = "a run";
const OVER_EMPTY: &str = "over an empty program";

/// Conversations in the tables: one, ten thousand, and as many as `"flows"` may be set to here.
const FLOWS: [u32; 2] = [1, 10_000];
const MANY_FLOWS: u32 = 1_000_000;
/// Entries that are met one after another before any is met again: more than a processor's caches hold.
const STRETCH: u32 = 100_000;
/// Times [`RUNS`] packets for a sample of what is in the caches.
const TIMES: u32 = 40;

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    /// Flows opened for a sample.
    openings: u32,
    published: &'static [Published],
    many_flows: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let plan = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Plan { rounds: 15, openings: 1_000, published: &Published::ALL, many_flows: true },
        ["--quick"] => Plan { rounds: 5, openings: 300, published: &Published::FEW, many_flows: false },
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("program-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: Plan) -> Result<()> {
    if std::env::var_os("PORTLANE_SANDBOX").is_none() {
        bail!("outside of a sandbox: {USAGE}");
    }
    test_with("bench", LoadSettings::default(), |programs| {
        stay_on_one_processor()?;
        let empty = Empty::load()?;
        empty.figure(programs, plan)?;
        for published in plan.published {
            of_ports::<V4>(programs, &empty, plan, *published)?;
            of_ports::<V6>(programs, &empty, plan, *published)?;
        }
        Published::ONE.apply(programs)?;
        beside::<V4>(programs, &empty, plan)?;
        beside::<V6>(programs, &empty, plan)?;
        fill::<V4>(programs)?;
        fill::<V6>(programs)?;
        known::<V4>(programs, &empty, plan, Published::ONE, FLOWS[1])?;
        known::<V6>(programs, &empty, plan, Published::ONE, FLOWS[1])
    })?;
    if !plan.many_flows {
        return Ok(());
    }
    let settings = LoadSettings { flows: 2 * MANY_FLOWS + 2, ..LoadSettings::default() };
    test_with("bench-many", settings, |programs| {
        stay_on_one_processor()?;
        let empty = Empty::load()?;
        known::<V4>(programs, &empty, plan, Published::ONE, MANY_FLOWS)?;
        known::<V6>(programs, &empty, plan, Published::ONE, MANY_FLOWS)
    })
}

/// Figures of one processor's caches; the kernel takes the last one least for itself.
fn stay_on_one_processor() -> Result<()> {
    let processors = std::thread::available_parallelism().context("cannot count processors")?.get();
    let mut set = CpuSet::new();
    set.set(processors - 1).context("no such processor")?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot stay on one processor")
}

/// A program that does nothing.
struct Empty(OwnedFd);

impl Empty {
    fn load() -> Result<Self> {
        Ok(Self(bpf_run::load_empty().context("cannot load a program")?))
    }

    /// What a run takes over a packet as these are, in nanoseconds.
    fn run(&self, programs: &Programs, repeat: u32) -> Result<u32> {
        let ifindex = programs.interfaces.uplink;
        let packet = Way::Published.frame(Way::Published.tuple(V4::VERSION, 0), 0, 64).bytes();
        let run = bpf_run::run(self.0.as_fd(), &packet, &sk_buff(ifindex, ifindex), Sum::None, repeat)?;
        ensure!(run.returned == tc::UNSPEC && run.bytes == packet, "the empty program did something");
        Ok(run.nanoseconds)
    }

    fn figure(&self, programs: &Programs, plan: Plan) -> Result<()> {
        let samples = (0..plan.rounds).map(|_| self.sample(programs, RUNS, TIMES)).collect::<Result<_>>()?;
        let (subject, case, unit) = ("empty program", "any packet".to_owned(), "nanoseconds");
        Figure { subject, case, metric: A_RUN, unit, at: Vec::new(), samples }.print()
    }

    /// The same many times: the middle one.
    fn sample(&self, programs: &Programs, repeat: u32, times: u32) -> Result<f64> {
        Ok(median((0..times).map(|_| self.run(programs, repeat)).collect::<Result<_>>()?))
    }
}

/// What depends on the ports published, if anything does.
fn of_ports<F: Kept>(programs: &Programs, empty: &Empty, plan: Plan, published: Published) -> Result<()> {
    known::<F>(programs, empty, plan, published, FLOWS[0])?;
    for way in Way::BOTH {
        let mut opener = Opener::new(programs, F::VERSION, way, published.port());
        let mut samples = Vec::new();
        for _ in 0..plan.rounds {
            let base = empty.sample(programs, 1, plan.openings)?;
            samples.push(median(opener.open(plan.openings)?) - base);
        }
        over_empty::<F>(format!("{}, new flow", way.name()), &published.at(), samples).print()?;
    }
    let mut samples = Vec::new();
    for _ in 0..plan.rounds {
        let base = empty.sample(programs, RUNS, TIMES)?;
        samples.push(median(opening::miss(programs, F::VERSION, TIMES)?) - base);
    }
    over_empty::<F>("not published".to_owned(), &published.at(), samples).print()
}

/// What packets of known conversations cost, each packet another one's.
fn known<F: Kept>(programs: &Programs, empty: &Empty, plan: Plan, published: Published, flows: u32) -> Result<()> {
    let at: Vec<_> = published.at().into_iter().chain([("flows", flows.to_string())]).collect();
    for way in Way::BOTH {
        published.apply(programs)?;
        let ring = Ring::new::<F>(programs, way, published, flows)?;
        let times = if flows == FLOWS[0] { TIMES } else { STRETCH.min(2 * flows) / RUNS };
        let (mut first, mut next, mut few) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..plan.rounds {
            let base = empty.sample(programs, RUNS, TIMES)?;
            let from = ring.begin(round);
            // Once a second an entry is stamped, and its next hop looked for: the first time round does that.
            first.push(median(ring.walk(from, times)?) - base);
            next.push(median(ring.walk(from, times)?) - base);
            few.push(median(ring.walk_again(from, TIMES)?) - base);
        }
        over_empty::<F>(format!("{}, established", way.name()), &at, next).print()?;
        if flows > FLOWS[0] {
            over_empty::<F>(format!("{}, established, {RUNS} of them busy", way.name()), &at, few).print()?;
        }
        if flows > FLOWS[1] {
            let case = format!("{}, established, first packet of a second", way.name());
            over_empty::<F>(case, &at, first).print()?;
        }
    }
    Ok(())
}

/// What a packet from one container to another of its network costs, which has no flow.
fn beside<F: Kept>(programs: &Programs, empty: &Empty, plan: Plan) -> Result<()> {
    let sample = |_| Ok(median(opening::beside(programs, F::VERSION, TIMES)?) - empty.sample(programs, RUNS, TIMES)?);
    let samples = (0..plan.rounds).map(sample).collect::<Result<_>>()?;
    over_empty::<F>("container to container".to_owned(), &[], samples).print()
}

fn over_empty<F: Kept>(case: String, at: &[(&'static str, String)], samples: Vec<f64>) -> Figure {
    let at = [family(F::VERSION)].into_iter().chain(at.iter().cloned()).collect();
    Figure { subject: "portlane", case, metric: OVER_EMPTY, unit: "nanoseconds", at, samples }
}
