//! What commands cost: to start a container's network, to publish ports, few and many, one by one and at once, beside
//! others, and to put everything back.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, unshare};

use super::{
    Plan, crowd, engines, memory,
    record::{Figure, Run, Section, Unit, What},
    topology::said,
};
use crate::run::{done, tool};

/// Where the programs and maps are pinned.
pub const PINS: &str = "/sys/fs/bpf/portlane";
/// Published together: one range of each of these sizes.
const RANGES: [u16; 4] = [1, 100, 1_000, 16_000];
/// Published as so many entries, by one command.
const APART: [u16; 2] = [100, 1_000];
/// Ports of a second container that are published already. (A host has room for 16,384 entries.)
const OTHERS: [u16; 3] = [0, 1_000, 5_000];
/// The first of them, and of those that are published beside them.
const FIRST_OTHER: u16 = 10_000;
const FIRST: u16 = 40_000;
/// Ports that one command publishes: a command line has room for no more than some thousands.
const AT_A_TIME: u16 = 500;
/// Times what a figure of a path is taken: a command is over sooner than a measurement of traffic.
const TIMES: usize = 3;
/// How long the kernel may take to take down the interfaces of containers that ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Commands of portlane, and where their times go.
pub struct Control<'a> {
    pub plan: &'a Plan,
    pub record: &'a mut Run,
}

/// Measures the control plane, from an empty host to an empty host.
///
/// # Errors
/// When a command fails.
pub fn measure(plan: &Plan, record: &mut Run) -> Result<()> {
    engines::add(record)?;
    let mut control = Control { plan, record };
    control.start()?;
    control.attach()?;
    memory::measure(control.record)?;
    control.publish()?;
    crowd::measure(&mut control)?;
    control.run(&["uninstall", "--force"])
}

impl Control<'_> {
    /// Runs a command of portlane, whose output nobody reads.
    pub fn run(&self, arguments: &[&str]) -> Result<()> {
        run(&self.plan.portlane, arguments)
    }

    /// The same: what it takes.
    pub fn timed(&self, arguments: &[&str]) -> Result<Duration> {
        timed(|| self.run(arguments))
    }

    /// Notes what a command took, each time.
    pub fn note(&mut self, case: &str, at: &[(&str, String)], times: &[Duration]) {
        note(&mut self.record.figures, "portlane", case, at, times);
    }

    fn rounds(&self) -> usize {
        self.plan.rounds * TIMES
    }

    /// A command that does nothing, the first one, and containers that end at once.
    fn start(&mut self) -> Result<()> {
        let nothing = self.repeated(|control| control.timed(&["--version"]))?;
        self.note("a command that does nothing", &[], &nothing);
        let first = self.timed(&["run", "--rm", "--", "true"])?;
        self.note("the first command, which loads the programs", &[], &[first]);
        self.run(&["run", "-d", "--name", "web", "--", "sleep", "infinity"])?;
        let row = self.repeated(|control| control.timed(&["run", "--rm", "--", "true"]))?;
        self.note("run --rm, one right after another", &[], &row);
        let run = self.repeated(|control| {
            idle(1)?;
            control.timed(&["run", "--rm", "--", "true"])
        })?;
        self.note(engines::RUN, &[], &run);
        idle(1)?;
        engines::PORTS.into_iter().try_for_each(|ports| self.start_with(ports))
    }

    /// A container that publishes ports as it starts.
    fn start_with(&mut self, ports: u16) -> Result<()> {
        let (range, at) = (engines::range(ports), [("ports", ports.to_string())]);
        let (mut start, mut remove) = (vec![], vec![]);
        for _ in 0..self.rounds() {
            start.push(self.timed(&["run", "-d", "--name", "ports", "-p", &range, "--", "sleep", "infinity"])?);
            remove.push(self.timed(&["rm", "-f", "ports"])?);
            idle(1)?;
        }
        self.note(engines::START, &at, &start);
        self.note(engines::REMOVE, &at, &remove);
        Ok(())
    }

    /// A container's network alone: of a namespace that is there, and what the kernel takes to make one.
    fn attach(&mut self) -> Result<()> {
        let (mut attach, mut detach, mut namespace) = (vec![], vec![], vec![]);
        for round in 0..self.rounds() {
            let name = format!("bench{round}");
            done(tool("ip").args(["netns", "add", &name]))?;
            attach.push(self.timed(&["attach", &name])?);
            detach.push(self.timed(&["detach", &name])?);
            done(tool("ip").args(["netns", "del", &name]))?;
            namespace.push(empty_namespace()?);
            idle(1)?;
        }
        self.note("attach: a container's network", &[], &attach);
        self.note("detach", &[], &detach);
        note(&mut self.record.figures, "kernel", "an empty network namespace", &[], &namespace);
        Ok(())
    }

    /// Ports, beside others.
    fn publish(&mut self) -> Result<()> {
        self.run(&["run", "-d", "--name", "other", "--", "sleep", "infinity"])?;
        let others = if self.plan.quick { &OTHERS[..2] } else { &OTHERS };
        let mut there = 0;
        for others in others.iter().copied() {
            let more: Vec<String> = (there..others).map(|port| spec(FIRST_OTHER + port, 1)).collect();
            more.chunks(AT_A_TIME.into()).try_for_each(|specs| self.each("publish", "other", specs))?;
            there = others;
            self.publish_ranges(others)?;
            self.publish_apart(others)?;
            if others == 0 || !self.plan.quick {
                self.publish_one_by_one(others)?;
            }
        }
        if self.plan.quick {
            self.leave_out(
                "with --quick: publishing beside 5,000 others, and 1,000 ports, or beside others, one by one",
            );
        }
        self.leave_out("16,000 ports one by one: as many commands as 1,000 take, sixteen times");
        self.run(&["rm", "-f", "web", "other"])
    }

    fn publish_ranges(&mut self, others: u16) -> Result<()> {
        let mut times = [const { vec![] }; RANGES.len()];
        let (mut off, mut entries) = (vec![], vec![]);
        // Interleaved, so that whatever else the machine does meets all alike.
        for _ in 0..self.rounds() {
            for (ports, times) in RANGES.into_iter().zip(&mut times) {
                let spec = spec(FIRST, ports);
                times.push(self.timed(&["publish", "web", &spec])?);
                entries.push(published_entries()?);
                off.push(self.timed(&["unpublish", "web", &spec])?);
            }
        }
        entries.dedup();
        ensure!(entries.len() == 1, "many ports take another number of map entries than one: {entries:?}");
        for (ports, times) in RANGES.into_iter().zip(&times) {
            self.note("publish", &at(ports, others), times);
        }
        self.note("unpublish", &[("others", others.to_string())], &off);
        Ok(())
    }

    /// Each port its own entry, all by one command.
    fn publish_apart(&mut self, others: u16) -> Result<()> {
        for ports in APART {
            let specs: Vec<String> = (0..ports).map(|port| spec(FIRST + port, 1)).collect();
            let mut times = vec![];
            for _ in 0..self.plan.rounds {
                let chunks = specs.chunks(AT_A_TIME.into());
                times.push(timed(|| chunks.clone().try_for_each(|specs| self.each("publish", "web", specs)))?);
                chunks.into_iter().try_for_each(|specs| self.each("unpublish", "web", specs))?;
            }
            self.note("publish, each port an entry", &at(ports, others), &times);
        }
        Ok(())
    }

    fn publish_one_by_one(&mut self, others: u16) -> Result<()> {
        // A thousand commands are a matter of minutes beside many others.
        let counts = if self.plan.quick || others > 0 { &APART[..1] } else { &APART };
        for ports in counts.iter().copied() {
            let specs: Vec<String> = (0..ports).map(|port| spec(FIRST + port, 1)).collect();
            let all = timed(|| specs.iter().try_for_each(|spec| self.run(&["publish", "web", spec])))?;
            specs.chunks(AT_A_TIME.into()).try_for_each(|specs| self.each("unpublish", "web", specs))?;
            self.note("publish, one by one", &at(ports, others), &[all]);
        }
        Ok(())
    }

    /// One command about many ports.
    fn each(&self, verb: &str, container: &str, specs: &[String]) -> Result<()> {
        let words: Vec<&str> = [verb, container].into_iter().chain(specs.iter().map(String::as_str)).collect();
        self.run(&words)
    }

    fn repeated(&self, command: impl Fn(&Self) -> Result<Duration>) -> Result<Vec<Duration>> {
        (0..self.rounds()).map(|_| command(self)).collect()
    }

    fn leave_out(&mut self, sentence: &str) {
        self.record.left_out.push(sentence.to_owned());
    }
}

/// So many ports from this one on, as commands have it.
fn spec(first: u16, ports: u16) -> String {
    let last = first + (ports - 1);
    if ports == 1 { format!("{first}:80") } else { format!("{first}-{last}:{first}-{last}") }
}

fn at(ports: u16, others: u16) -> [(&'static str, String); 2] {
    [("ports", ports.to_string()), ("others", others.to_string())]
}

/// Notes what something took, each time.
pub fn note(figures: &mut Vec<Figure>, subject: &str, case: &str, at: &[(&str, String)], times: &[Duration]) {
    let what = What {
        section: Section::Control,
        subject: subject.to_owned(),
        case: case.to_owned(),
        metric: "time".to_owned(),
        at: at.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    };
    let samples = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    figures.push(Figure { what, unit: Unit::Milliseconds, samples });
}

/// Runs a command of this portlane, whose output nobody reads.
pub fn run(portlane: &Path, arguments: &[&str]) -> Result<()> {
    done(Command::new(portlane).args(arguments).stdout(Stdio::null()))
}

/// What something takes.
pub fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// Waits until the kernel has taken down the interfaces of containers that ended, which it does in the background, and
/// only those of so many are left.
pub fn idle(containers: usize) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let links = fs::read_dir("/sys/class/net").context("cannot list interfaces")?.flatten();
        if links.filter(|link| link.file_name().to_string_lossy().starts_with("veth")).count() <= containers {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    bail!("interfaces of containers that ended are still there after {} s", PATIENCE.as_secs())
}

/// What a namespace takes that nothing is done in.
fn empty_namespace() -> Result<Duration> {
    let make = || timed(|| unshare(CloneFlags::CLONE_NEWNET).context("no network namespace"));
    thread::spawn(make).join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
}

/// Entries of the table of published ports.
fn published_entries() -> Result<usize> {
    let map = Path::new(PINS).join("maps/pl_publish4");
    let dump = said(tool("bpftool").args(["-j", "map", "dump", "pinned"]).arg(map))?;
    let entries: Vec<serde_json::Value> =
        serde_json::from_str(&dump).context("bpftool prints something else than a map")?;
    Ok(entries.len())
}

#[cfg(test)]
mod tests {
    use super::spec;

    #[test]
    fn a_range_leads_to_the_same_ports_and_one_port_to_the_web_servers() {
        assert_eq!(spec(40_000, 1), "40000:80");
        assert_eq!(spec(40_000, 16_000), "40000-55999:40000-55999");
    }
}
