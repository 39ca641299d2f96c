//! Portlane: the release build. All is as it is by default but for the number of conversations.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    Peer, Topology,
    published::{Port, ports, rules},
};
use crate::bench::{
    Plan,
    cgroup::Cgroup,
    paths::Family,
    topology::{Place, quiet, said},
};

pub const SUBJECT: &str = "portlane";
/// For state: the sandbox's own tmpfs.
const FILES: &str = "/run/bench";
const BPFFS: &str = "/sys/fs/bpf";
/// Conversations, all of which one container may hold. A connection that is closed is remembered for minutes, here as in
/// conntrack, and every round makes some ten thousand on each path: a quarter of the default, which is what one container has
/// otherwise, is soon used up.
pub const FLOWS: u32 = 131_072;

/// On a host of its own.
struct Portlane<'p> {
    plan: &'p Plan,
    net: Topology,
    files: PathBuf,
    name: String,
    cgroup: Cgroup,
}

/// What links carry beyond an ordinary veth pair.
pub struct LinkSettings {
    /// As it is called in figures.
    pub subject: &'static str,
    /// Key and value in `daemon.json`.
    pub key: Option<(&'static str, &'static str)>,
    /// Whether the uplink carries longer trains than others.
    pub big: bool,
}

/// As it is by default, but for the ports.
pub fn peer(plan: &Plan, count: usize) -> Result<Peer> {
    set_up(plan, &format!("portlane-{count}"), Topology::host, count, json!({}))
}

/// With link settings, and a port.
pub fn linked(plan: &Plan, settings: &LinkSettings) -> Result<Peer> {
    let name = format!("links-{}", settings.key.map_or("none", |(key, _)| key));
    let mut own = json!({});
    if let Some((key, value)) = settings.key {
        own[key] = serde_json::from_str(value)?;
    }
    let host = |name: &str| {
        let net = Topology::host(name)?;
        if settings.big { net.carries_long_trains().map(|()| net) } else { Ok(net) }
    };
    let peer = set_up(plan, &name, host, 1, own)?;
    Ok(Peer { subject: settings.subject, sets_gro: true, ..peer })
}

/// Both containers are attached, since their namespaces are the topology's. Each port is an entry of its own.
fn set_up(
    plan: &Plan,
    name: &str,
    host: impl Fn(&str) -> Result<Topology>,
    count: usize,
    mut own: Value,
) -> Result<Peer> {
    let files = PathBuf::from(FILES).join(name);
    fs::create_dir_all(&files).with_context(|| format!("cannot make {}", files.display()))?;
    own["flows"] = FLOWS.into();
    own["flow-share"] = FLOWS.into();
    let settings = json!({"portlane": own});
    fs::write(files.join("daemon.json"), settings.to_string()).context("cannot write daemon.json")?;
    let portlane = Portlane { plan, net: host(name)?, files, cgroup: Cgroup::new(name)?, name: name.to_owned() };
    let published: Vec<String> = rules(&ports(count, Family::V4, true)).flat_map(option).collect();
    portlane.attach(Place::A, &published)?;
    portlane.attach(Place::B, &[])?;
    let mut chosen = Vec::new();
    for place in [Place::A, Place::B] {
        let inspected = portlane.inspect(place)?;
        for (family, field) in [(Family::V4, "addr4"), (Family::V6, "addr6")] {
            let address = inspected[field].as_str().with_context(|| format!("`inspect` has no {field}"))?;
            chosen.push((place, family, address.parse()?));
        }
    }
    let cgroup = Some(portlane.cgroup);
    Ok(Peer { chosen, cgroup, ..Peer::new(SUBJECT, Some(count), portlane.net) })
}

/// As `attach` takes it.
fn option((port, protocol): (Port, &str)) -> [String; 2] {
    ["-p".to_owned(), format!("{}:{}/{protocol}", port.host, port.to.port())]
}

impl Portlane<'_> {
    fn command(&self) -> Command {
        let mut command = self.net.command(Place::Host, &self.plan.portlane.to_string_lossy());
        command.arg("--config").arg(self.files.join("daemon.json")).arg("--root").arg(self.files.join("state"));
        command.arg("--bpffs").arg(PathBuf::from(BPFFS).join(&self.name));
        self.cgroup.shown_to(&command)
    }

    fn attach(&self, place: Place, published: &[String]) -> Result<()> {
        quiet(self.command().args(["attach", &self.net.netns(place)]).args(published))
    }

    fn inspect(&self, place: Place) -> Result<Value> {
        let text = said(self.command().args(["--json", "inspect", &self.net.netns(place)]))?;
        serde_json::from_str(&text).with_context(|| format!("`inspect` prints {text}"))
    }
}
