//! What the kernel has, what there is, and what gets in the way.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::Result;
use crate::{
    bpf::{self, Datapath, Feature, Foreign, MapFill, Missing, Note, ProgramReport},
    engine::{Engine, Settings},
    model::{Attachment, HostFacts, UplinkFact, network},
};

/// All that is told.
#[derive(Default)]
struct Report {
    kernel: String,
    features: Vec<Feature>,
    missing: Vec<Missing>,
    notes: Vec<Note>,
    held: Vec<String>,
    absent: Vec<String>,
    daemon: Option<u32>,
    uplinks: Vec<(UplinkFact, &'static str)>,
    maps: Vec<MapFill>,
    foreign: Vec<Foreign>,
    programs: Vec<ProgramReport>,
    attachments: Vec<Attachment>,
    networks: usize,
    containers: usize,
    ports: usize,
}

pub(super) async fn status(settings: Settings) -> Result<Value> {
    let mut report = Report {
        kernel: bpf::kernel(),
        features: bpf::features(&settings.bpffs),
        missing: bpf::probe(&settings.bpffs),
        notes: bpf::notes(),
        daemon: daemon(),
        ..Report::default()
    };
    // Without privileges there is nothing more to see than that.
    if report.missing.iter().all(|missing| missing.optional) {
        report.look(&Engine::open(settings).await?).await?;
    }
    Ok(report.json())
}

impl Report {
    async fn look(&mut self, engine: &Engine) -> Result<()> {
        let facts = engine.facts().await?;
        if let Some(datapath) = engine.datapath()? {
            self.see(engine, &datapath, &facts).await?;
        }
        self.held = engine.held_trains(&facts).await?;
        self.absent = network::absent_addresses(engine.state(), &facts.addresses);
        for uplink in facts.uplinks {
            let mode = self.mode(&uplink.name);
            self.uplinks.push((uplink, mode));
        }
        let state = engine.state();
        self.networks = state.networks.len();
        self.containers = state.live().count();
        self.ports = state.publishes().count();
        Ok(())
    }

    async fn see(&mut self, engine: &Engine, datapath: &Datapath, facts: &HostFacts) -> Result<()> {
        self.programs = datapath.programs()?;
        self.attachments = datapath.attachments(&datapath.pinned()?, &facts.ifindex)?.into_iter().collect();
        self.maps = datapath.fill()?;
        self.foreign = engine.foreign_programs(datapath, &self.attachments, facts).await?;
        Ok(())
    }

    /// How packets are taken from an uplink.
    fn mode(&self, interface: &str) -> &'static str {
        let hooks = self.attachments.iter().filter(|attachment| attachment.interface == interface);
        let hooks: Vec<_> = hooks.map(|attachment| attachment.hook.name()).collect();
        match () {
            () if hooks.contains(&"from_uplink_xdp") => "native XDP and tc",
            () if hooks.contains(&"from_uplink_l3") => "tc, no Ethernet headers",
            () if hooks.contains(&"from_uplink") => "tc",
            () => "not attached",
        }
    }

    fn json(&self) -> Value {
        let features = self.features.iter();
        let features = features.map(|f| json!({"name": f.name, "present": f.present, "purpose": f.purpose}));
        let missing = self.missing.iter();
        let missing = missing.map(|m| json!({"feature": m.feature, "remedy": m.remedy, "optional": m.optional}));
        let uplinks = self.uplinks.iter().map(|(uplink, mode)| {
            json!({"name": uplink.name, "ifindex": uplink.ifindex, "addr4": uplink.addr4, "addr6": uplink.addr6,
                   "mtu": uplink.mtu, "ethernet": uplink.ethernet, "mode": mode})
        });
        let maps = self.maps.iter().map(|map| {
            json!({"name": map.name, "entries": map.entries, "max_entries": map.most, "percent": map.percent(),
                   "oldest_make_room": map.makes_room, "warning": map.warning()})
        });
        let foreign = self.foreign.iter();
        let foreign = foreign.map(|f| json!({"interface": f.interface, "place": f.place, "name": f.name, "id": f.id}));
        let programs = self.programs.iter().map(|program| {
            json!({"name": program.name, "id": program.id, "verified_instructions": program.verified_insns,
                   "machine_code_bytes": program.jited_bytes})
        });
        json!({
            "kernel": self.kernel,
            "features": features.collect::<Vec<_>>(),
            "missing": missing.collect::<Vec<_>>(),
            "notes": self.notes.iter().map(|n| json!({"what": n.what, "remedy": n.remedy})).collect::<Vec<_>>(),
            "held": self.held,
            "absent": self.absent,
            "daemon": self.daemon,
            "uplinks": uplinks.collect::<Vec<_>>(),
            "maps": maps.collect::<Vec<_>>(),
            "foreign": foreign.collect::<Vec<_>>(),
            "programs": programs.collect::<Vec<_>>(),
            "attachments": self.attachments.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "networks": self.networks,
            "containers": self.containers,
            "published": self.ports,
        })
    }
}

/// The process of a `portlane daemon` in this network namespace.
fn daemon() -> Option<u32> {
    let here = fs::read_link("/proc/self/ns/net").ok()?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let process = Path::new("/proc").join(pid.to_string());
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        is_daemon(&words) && fs::read_link(process.join("ns/net")).is_ok_and(|netns| netns == here)
    })
}

/// Whether these are the words of a `portlane daemon`, each ended by a zero.
fn is_daemon(words: &[u8]) -> bool {
    let mut words = words.split(|byte| *byte == 0);
    words.next().is_some_and(|program| program.rsplit(|byte| *byte == b'/').next() == Some(b"portlane"))
        // Before it come options and their values alone.
        && words.take_while(|word| *word != b"--").any(|word| word == b"daemon")
}

#[cfg(test)]
mod tests {
    use super::is_daemon;

    #[test]
    fn the_daemon_is_known_by_its_words() {
        assert!(is_daemon(b"/usr/bin/portlane\0--root\0/x\0daemon\0"));
        assert!(is_daemon(b"portlane\0daemon\0"));
        assert!(!is_daemon(b"portlane\0run\0--\0daemon\0"));
        assert!(!is_daemon(b"vi\0daemon\0"));
        assert!(!is_daemon(b""));
    }
}
