//! Packets between namespaces: all peers take turns, round after round, so that whatever else the machine does meets all.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

use super::{
    Plan,
    cgroup::Cgroup,
    load::{Job, Kind, Server, measure as load},
    offloads::Offloads,
    paths::{Family, Path},
    peers::{self, Peer, Relay, Way},
    record::{Figure, Run, Section, Unit, What},
    topology::said,
};

/// Where client and server run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cpus {
    pub(super) client: usize,
    pub(super) server: usize,
}

/// What all peers measure, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) section: Section,
    pub(super) path: Path,
    pub(super) family: Family,
    pub(super) kind: Kind,
    pub(super) cpus: Cpus,
    pub(super) offloads: Offloads,
}

/// Samples of every figure so far, and why there are none.
#[derive(Default)]
struct Samples {
    taken: BTreeMap<What, (Unit, Vec<f64>)>,
    failed: BTreeMap<What, String>,
}

/// Measures on all paths of the plan.
///
/// # Errors
/// When a peer cannot be set up. What then cannot be measured is left out.
pub fn measure(plan: &Plan, record: &mut Run) -> Result<()> {
    let processors = processors()?;
    if processors.len() < 2 {
        record.left_out.push("client and server on two processors: there is one only".to_owned());
    }
    let peers = peers::all(plan)?;
    let turns = turns(plan, &processors);
    record.settings.extend(settings(&processors)?);
    rounds(plan, &peers, &turns, record)
}

/// Has all peers take their turns, round after round.
///
/// # Errors
/// When offloads cannot be set. What then cannot be measured is left out.
pub(super) fn rounds(plan: &Plan, peers: &[Peer], turns: &[Turn], record: &mut Run) -> Result<()> {
    let mut samples = Samples::default();
    for round in 0..plan.rounds {
        for offloads in Offloads::BOTH {
            let turns: Vec<_> = turns.iter().filter(|turn| turn.offloads == offloads).collect();
            if !turns.is_empty() {
                peers
                    .iter()
                    .try_for_each(|peer| offloads.set(&peer.net, peer.sets_gro))
                    .context("cannot set offloads")?;
            }
            for bout in bouts(&turns) {
                bout_of_peers(plan, peers, bout, round, &mut samples);
            }
        }
        println!("   round {} of {}", round + 1, plan.rounds);
    }
    samples.hand_over(record);
    Ok(())
}

/// Has all peers take their turns at what is compared, and then those that targets are set for take further ones in each
/// other's wake, there and back: the machine's pace changes within seconds, and meets both then.
fn bout_of_peers(plan: &Plan, peers: &[Peer], bout: &[&Turn], round: usize, samples: &mut Samples) {
    for turn in bout {
        // Each round begins with another one, so that nobody always follows the same.
        for number in 0..peers.len() {
            samples.take(&peers[(round + number) % peers.len()], turn, plan.seconds);
        }
    }
    let aimed = |turn: &Turn, peer: &&Peer| turn.is_aimed_at(peer.subject, peer.ports);
    let mut aimed: Vec<_> = bout
        .iter()
        .flat_map(|turn| peers.iter().filter(|peer| aimed(turn, peer)).map(move |peer| (peer, turn)))
        .collect();
    for _ in 0..plan.repeats {
        aimed.iter().for_each(|(peer, turn)| samples.take(peer, turn, plan.seconds));
        aimed.reverse();
    }
}

/// Turns that are compared with each other: of the same peer those to the loopback address and to the container's own, else
/// each by itself.
fn bouts<'a, 'b>(turns: &'a [&'b Turn]) -> impl Iterator<Item = &'a [&'b Turn]> {
    turns.chunk_by(|one, next| one.path.section() == next.path.section() && Turn { path: one.path, ..**next } == **one)
}

/// Processors that this process may use.
pub(super) fn processors() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("cannot tell which processors there are")?;
    let processors: Vec<_> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or_default()).collect();
    ensure!(!processors.is_empty(), "there is no processor");
    Ok(processors)
}

fn settings(processors: &[usize]) -> Result<Vec<String>> {
    let iptables = said(Command::new("iptables").arg("--version"))?;
    let mut settings = vec![
        format!("cpus 1: client, server and relay on processor {}", processors[0]),
        format!("Docker's rules are loaded by {}", iptables.trim()),
        "bridge-nf-call-iptables: 1 at Docker's and netavark's bridge, 0 at the nft map's".to_owned(),
        format!("portlane: flows and flow-share {}, else its defaults", peers::FLOWS),
    ];
    settings.extend(
        processors.get(1).map(|second| {
            format!("cpus 2: client on processor {}, server on {second}, relay on either", processors[0])
        }),
    );
    settings.extend(Offloads::BOTH.map(Offloads::setting));
    Ok(settings)
}

/// All that is to be measured in one round.
fn turns(plan: &Plan, processors: &[usize]) -> Vec<Turn> {
    let one = Cpus { client: processors[0], server: processors[0] };
    let two = processors.get(1).map(|second| Cpus { server: *second, ..one });
    let mut turns = Vec::new();
    let paths = plan.paths();
    for section in paths.iter().filter(|path| path.section() == **path) {
        for family in Family::BOTH {
            for (kind, together, offloads) in kinds(plan, *section, family) {
                let cpus = if together { Some(one) } else { two };
                let same = paths.iter().filter(|path| path.section() == *section);
                let turn = |path, cpus| Turn { section: Section::Traffic, path, family, kind, cpus, offloads };
                turns.extend(same.filter_map(|path| Some(turn(*path, cpus?))));
            }
        }
    }
    turns
}

/// What is measured on a path, and whether client and server are on one processor then.
fn kinds(plan: &Plan, path: Path, family: Family) -> Vec<(Kind, bool, Offloads)> {
    use Offloads::{Off, On};
    let on_host = path == Path::Loopback;
    let mut kinds = vec![(Kind::Rr, true, On)];
    if plan.quick && family == Family::V6 {
        return kinds;
    }
    kinds.push((Kind::Connections, true, On));
    if plan.quick && path == Path::Hairpin {
        return kinds;
    }
    kinds.extend([(Kind::Datagrams, true, On), (Kind::Stream, true, On)]);
    if !on_host {
        // The host's own processes have no cable in between that could have offloads.
        kinds.push((Kind::Stream, true, Off));
    }
    if !on_host && !plan.quick && family == Family::V4 {
        kinds.push((Kind::Rr, false, On));
    }
    kinds
}

impl Turn {
    /// Whether a peer takes part: those with many ports where the number of ports could matter.
    fn has(&self, peer: &Peer) -> bool {
        let by_ports = self.path == Path::Published
            && matches!(self.kind, Kind::Rr | Kind::Connections)
            && self.cpus.client == self.cpus.server;
        peer.ports.is_none_or(|ports| ports == 1 || by_ports)
    }

    /// Whether a target is set for what somebody measures, or with it.
    fn is_aimed_at(&self, subject: &str, ports: Option<usize>) -> bool {
        let compared = match self.path {
            Path::Hairpin => &[][..],
            Path::Published => &[peers::BARE, peers::PORTLANE, peers::DOCKER],
            _ => &[peers::BARE, peers::PORTLANE],
        };
        let alone = self.section == Section::Traffic && self.cpus.client == self.cpus.server;
        alone && ports.is_none_or(|ports| ports == 1) && compared.contains(&subject)
    }

    fn what(&self, peer: &Peer, metric: &str) -> What {
        let cpus = if self.cpus.client == self.cpus.server { "1" } else { "2" };
        let mut at = BTreeMap::from([("family", self.family.label().to_owned()), ("cpus", cpus.to_owned())]);
        at.extend(peer.ports.map(|ports| ("ports", ports.to_string())));
        What {
            section: self.section,
            subject: peer.subject.to_owned(),
            case: self.path.label().to_owned(),
            metric: if self.kind == Kind::Stream { self.offloads.metric().to_owned() } else { metric.to_owned() },
            at: at.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

impl Samples {
    /// One who fails once is not asked again: it would only take time.
    fn take(&mut self, peer: &Peer, turn: &Turn, seconds: f64) {
        let Some(way) = turn.has(peer).then(|| peer.way(turn.path, turn.family)).flatten() else { return };
        let turn_of_peer = turn.what(peer, turn.kind.verb());
        if self.failed.contains_key(&turn_of_peer) {
            return;
        }
        match sample(peer, &way, turn, seconds) {
            Ok(figures) => {
                for (metric, unit, value) in figures {
                    let (_, samples) = self.taken.entry(turn.what(peer, metric)).or_insert((unit, Vec::new()));
                    samples.push(value);
                }
            }
            Err(error) => {
                let sentence = format!("{peer}, {}, {}: {error:#}", turn.path.label(), turn.family.label());
                self.failed.insert(turn_of_peer, sentence);
            }
        }
    }

    fn hand_over(self, record: &mut Run) {
        let figures = self.taken.into_iter();
        record.figures.extend(figures.map(|(what, (unit, samples))| Figure { what, unit, samples }));
        record.left_out.extend(self.failed.into_values());
    }
}

fn sample(peer: &Peer, way: &Way, turn: &Turn, seconds: f64) -> Result<Vec<(&'static str, Unit, f64)>> {
    let _inside = peer.cgroup.as_ref().map(Cgroup::enter).transpose()?;
    let _server = Server::start(&way.server, way.listens, turn.cpus.server)?;
    let together = turn.cpus.client == turn.cpus.server;
    let relay = |relay: &Relay| Server::relay(&relay.netns, relay.from, relay.to, together.then_some(turn.cpus.client));
    let _relay = way.relay.as_ref().map(relay).transpose()?;
    load(&way.client, &Job { kind: turn.kind, to: way.to, seconds, cpu: turn.cpus.client })
}
