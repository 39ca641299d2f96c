//! `status`: what the kernel has, what there is, what gets in the way, and what to type to mend it.

use std::{fs, path::Path};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::{Global, print};
use crate::{
    bpf::{self, Datapath, Feature, Foreign, MapFill, Missing, Note, ProgramReport},
    engine::Engine,
    model::{Attachment, UplinkFact},
};

/// Say whether portlane can work here, what is loaded, what there is, and what gets in the way
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 1 if something is missing that portlane cannot do without.
JSON: docs/json.md names the fields.")]
pub(super) struct Status;

/// All that is shown.
#[derive(Default)]
struct Report {
    kernel: String,
    features: Vec<Feature>,
    missing: Vec<Missing>,
    notes: Vec<Note>,
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

impl Status {
    pub(super) async fn run(self, global: &Global) -> Result<i32> {
        let missing = bpf::probe(&global.bpffs);
        let code = i32::from(missing.iter().any(|missing| !missing.optional));
        let mut report = Report {
            kernel: bpf::kernel(),
            features: bpf::features(&global.bpffs),
            missing,
            notes: bpf::notes(),
            daemon: daemon(),
            ..Report::default()
        };
        // Without privileges there is nothing more to see than that.
        if code == 0 {
            report.look(&global.engine().await?).await?;
        }
        if global.json {
            print::json(&report.json())?;
        } else {
            print::text(&report.table())?;
        }
        Ok(code)
    }
}

impl Report {
    async fn look(&mut self, engine: &Engine) -> Result<()> {
        if let Some(datapath) = engine.datapath()? {
            self.see(engine, &datapath).await?;
        }
        for uplink in engine.facts().await?.uplinks {
            let mode = self.mode(&uplink.name);
            self.uplinks.push((uplink, mode));
        }
        let state = engine.state();
        self.networks = state.networks.len();
        self.containers = state.live().count();
        self.ports = state.publishes().count();
        Ok(())
    }

    async fn see(&mut self, engine: &Engine, datapath: &Datapath) -> Result<()> {
        self.programs = datapath.programs()?;
        self.attachments = datapath.attachments()?.into_iter().collect();
        self.maps = datapath.fill()?;
        self.foreign = engine.foreign_programs(datapath).await?;
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

    /// What is missing or gets in the way, and what to type: a line each.
    fn advice(&self) -> Vec<String> {
        let missing = self
            .missing
            .iter()
            .map(|missing| format!("{} {missing}", if missing.optional { "better with" } else { "missing:" }));
        let notes = self.notes.iter().map(|note| format!("note: {}: run `{}`", note.what, note.remedy));
        let full = self.maps.iter().filter_map(MapFill::warning).map(|warning| format!("warning: {warning}"));
        let foreign = self.foreign.iter().map(|foreign| {
            let Foreign { interface, place, name, id } = foreign;
            format!("note: program {id} (`{name}`) of somebody else is on {interface}, {place}: it sees packets too")
        });
        missing.chain(full).chain(notes).chain(foreign).collect()
    }

    fn table(&self) -> String {
        let mut text: String = self.advice().iter().map(|line| format!("{line}\n")).collect();
        let lacks = |present| move |feature: &&Feature| feature.present == present;
        let names = |present| {
            let names: Vec<_> = self.features.iter().filter(lacks(present)).map(|feature| feature.name).collect();
            names.join(" ")
        };
        text += &format!("Linux {}: {}\n", self.kernel, names(Some(true)));
        for feature in self.features.iter().filter(lacks(Some(false))) {
            text += &format!("  without {}: {}\n", feature.name, feature.purpose);
        }
        if self.features.iter().any(|feature| feature.present.is_none()) {
            text += &format!("  not to be told: {}\n", names(None));
        }
        text += &match self.daemon {
            Some(pid) => format!("`portlane daemon` runs (pid {pid})\n"),
            None => "`portlane daemon` does not run, nor need it\n".to_owned(),
        };
        let (networks, containers, ports) = (self.networks, self.containers, self.ports);
        text += &format!(
            "{networks} network(s), {containers} running container(s), {ports} published port(s) or range(s)\n"
        );
        if !self.uplinks.is_empty() {
            let or_none = |address: Option<String>| address.unwrap_or_else(|| "-".to_owned());
            let rows = self.uplinks.iter().map(|(uplink, mode)| {
                let addresses = [uplink.addr4.map(|a| a.to_string()), uplink.addr6.map(|a| a.to_string())].map(or_none);
                let [addr4, addr6] = addresses;
                vec![uplink.name.clone(), addr4, addr6, uplink.mtu.to_string(), (*mode).to_owned()]
            });
            text += "\n";
            text += &print::columns(&["UPLINK", "IPV4", "IPV6", "MTU", "MODE"], &rows.collect::<Vec<_>>());
        }
        if self.programs.is_empty() {
            return text + "\nno program is loaded: the first network or container loads them\n";
        }
        text += &format!("\n{} program attachment(s)\n", self.attachments.len());
        text.extend(self.attachments.iter().map(|attachment| format!("  {attachment}\n")));
        let rows = self.programs.iter().map(|program| {
            let numbers = [program.id, program.verified_insns, program.jited_bytes].map(|number| number.to_string());
            [vec![program.name.clone()], numbers.to_vec()].concat()
        });
        let header = ["PROGRAM", "ID", "VERIFIED INSTRUCTIONS", "MACHINE CODE BYTES"];
        text += &format!("\n{}", print::columns(&header, &rows.collect::<Vec<_>>()));
        let rows = self.maps.iter().map(|map| {
            let full = if map.makes_room { "the oldest make room" } else { "no more is taken" };
            let (entries, most) = (map.entries.to_string(), map.most.to_string());
            vec![map.name.to_owned(), entries, most, format!("{} %", map.percent()), full.to_owned()]
        });
        let header = ["MAP", "ENTRIES", "OF AT MOST", "SHARE", "WHEN FULL"];
        text + &format!("\n{}", print::columns(&header, &rows.collect::<Vec<_>>()))
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
