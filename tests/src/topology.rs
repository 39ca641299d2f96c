//! A host and a machine outside, as network namespaces, with a portlane and containers on the host.
//!
//! ```text
//!   outside 192.0.2.2 ──── up0 192.0.2.1  the host ──── portlane0 ──── containers
//!           2001:db8:1::2      2001:db8:1::1
//! ```
//!
//! Each test has its own, under names that no other test has: tests run side by side.

use std::{
    env,
    fs::{self, DirBuilder},
    io::ErrorKind,
    net::IpAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

pub use by_hand::ByHand;
pub use container::Container;
pub use daemon::Daemon;
pub use dialog::Dialog;
pub use family::{Family, PROTOS, at, both, each};
pub use far::Far;
pub use place::{Answer, Conversation, Place, Server};
pub use terminal::Terminal;
pub use tools::{Program, Way, either_way};
pub use until::until;

mod by_hand;
mod cable;
mod container;
mod daemon;
mod dialog;
mod family;
mod far;
mod interface;
mod place;
mod ready;
mod terminal;
mod tool;
pub mod tools;
mod until;
mod vpn;

use ready::Ready;
use tool::{finish, limited};
use until::ready_to_talk;

/// Set inside `cargo xtask sandbox`.
const SANDBOX: &str = "PORTLANE_SANDBOX";
/// The program under test.
const PORTLANE: &str = "PORTLANE_BIN";
/// The host's interface towards the machine outside.
const UPLINK: &str = "up0";
/// For files: the sandbox's own tmpfs, so that nothing is left behind by a test that is killed.
const FILES: &str = "/run";
/// Of a lock.
const UNBROKEN: &str = "nobody panics while holding it";
/// How often a name is drawn before the machine is to blame.
const DRAWS: usize = 16;

/// The two machines. Dropped, it takes them away with all that is on them.
#[derive(Debug)]
pub struct Topology {
    /// Begins every name.
    name: String,
    /// For files.
    folder: PathBuf,
    portlane: PathBuf,
    peer: String,
    /// Features of the kernel that its portlane is to do without, with commas between them.
    without: Mutex<&'static str>,
}

/// Runs a test on a topology of its own; one that fails prints what portlane knows about it.
///
/// # Errors
/// The topology cannot be made; the test's.
pub fn test(body: impl FnOnce(&Topology) -> Result<()>) -> Result<()> {
    test_with("{}", body)
}

/// The same with a `daemon.json`.
///
/// # Errors
/// As [`test`].
pub fn test_with(daemon_json: &str, body: impl FnOnce(&Topology) -> Result<()>) -> Result<()> {
    let topology = Topology::new(daemon_json)?;
    let result = body(&topology);
    if result.is_err() {
        topology.explain();
    }
    result
}

impl Topology {
    fn new(daemon_json: &str) -> Result<Self> {
        ensure!(env::var_os(SANDBOX).is_some(), "root tests change the network: run them by `cargo xtask test`");
        let portlane = env::var_os(PORTLANE).with_context(|| format!("{PORTLANE} does not name the program"))?;
        let (name, folder) = unique_folder()?;
        let topology = Self {
            name,
            folder,
            portlane: portlane.into(),
            peer: built("peer")?.to_string_lossy().into_owned(),
            without: Mutex::default(),
        };
        fs::write(topology.daemon_json(), daemon_json)?;
        topology.make()?;
        Ok(topology)
    }

    fn make(&self) -> Result<()> {
        let (host, outside) = (self.host_netns(), self.outside_netns());
        ip(&format!("netns add {host}"))?;
        ip(&format!("netns add {outside}"))?;
        ip(&format!("-n {host} link set lo up"))?;
        ip(&format!("-n {outside} link set lo up"))?;
        for place in [self.host(), self.outside()] {
            // Nobody else has the addresses, so there is no second to be spent on finding that out.
            place.run(&["sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"])?;
        }
        self.uplink([UPLINK, "eth0"], [Family::host, Family::outside])
    }

    /// Connects the two machines a second time.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn second_uplink(&self) -> Result<()> {
        self.uplink(["up1", "eth1"], [Family::second_host, Family::second_outside])
    }

    fn uplink(&self, interfaces: [&str; 2], addresses: [fn(Family) -> IpAddr; 2]) -> Result<()> {
        let machines = [(&self.host(), &*self.host_netns()), (&self.outside(), &*self.outside_netns())];
        self.connect(machines, interfaces, addresses)
    }

    /// A cable between two machines: their network namespaces, interfaces and addresses.
    fn connect(
        &self,
        machines: [(&Place<'_>, &str); 2],
        interfaces: [&str; 2],
        addresses: [fn(Family) -> IpAddr; 2],
    ) -> Result<()> {
        cable::lay(machines.map(|(_, netns)| netns), interfaces, interfaces[0] == UPLINK)?;
        for (((_, netns), interface), address) in machines.into_iter().zip(interfaces).zip(addresses) {
            ip(&format!("-n {netns} addr add {}/24 dev {interface}", address(Family::V4)))?;
            ip(&format!("-n {netns} addr add {}/64 dev {interface} nodad", address(Family::V6)))?;
            ip(&format!("-n {netns} link set {interface} up"))?;
        }
        machines.iter().zip(interfaces).try_for_each(|((place, _), interface)| ready_to_talk(place, interface))
    }

    /// The host, as iproute2 calls it.
    pub fn host_netns(&self) -> String {
        format!("{}-host", self.name)
    }

    /// The machine outside, as iproute2 calls it.
    pub fn outside_netns(&self) -> String {
        format!("{}-out", self.name)
    }

    fn daemon_json(&self) -> PathBuf {
        self.folder.join("daemon.json")
    }

    /// Where this portlane pins what is in the kernel.
    pub fn bpffs(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(&self.name)
    }

    /// The host.
    pub fn host(&self) -> Place<'_> {
        Place::new(self, "host", netns_entry(&self.host_netns()))
    }

    /// The machine outside.
    pub fn outside(&self) -> Place<'_> {
        Place::new(self, "outside", netns_entry(&self.outside_netns()))
    }

    /// Runs a portlane command that must succeed; returns what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn portlane(&self, arguments: &[&str]) -> Result<String> {
        let output = limited(&self.portlane_words(arguments)).output()?;
        finish(&format!("portlane {}", arguments.join(" ")), &output)
    }

    /// Starts a portlane command, which says nothing; whoever asks for it ends it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn portlane_started(&self, arguments: &[&str]) -> Result<Child> {
        let words = self.portlane_words(arguments);
        let (program, arguments) = words.split_first().context("no command")?;
        Ok(Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Runs a portlane command that must be refused; returns its sentence.
    ///
    /// # Errors
    /// It does not exit with 1, or says nothing.
    pub fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = limited(&self.portlane_words(arguments)).output()?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let command = arguments.join(" ");
        ensure!(output.status.code() == Some(1), "`portlane {command}` is not refused: {}: {said}", output.status);
        ensure!(!said.is_empty(), "`portlane {command}` is refused without a word");
        Ok(said)
    }

    /// Runs a portlane command; returns its exit status and what it says on stderr.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn said(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = limited(&self.portlane_words(arguments)).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// The same by way of another command, in the test's own network namespace.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn said_through(&self, way: &[&str], arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = limited(&[words(way), self.portlane_program(), words(arguments)].concat()).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// The exit status of a portlane command.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn status(&self, arguments: &[&str]) -> Result<Option<i32>> {
        Ok(self.said(arguments)?.0)
    }

    /// Changes `daemon.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn rewrite_daemon_json(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.daemon_json(), text)?)
    }

    /// From here on, has portlane do as if the kernel lacked these features, with commas between them; as it is, if empty.
    pub fn without(&self, features: &'static str) {
        *self.without.lock().expect(UNBROKEN) = features;
    }

    /// The program that serves and asks.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Where this portlane keeps its state.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Runs a portlane command and reads the JSON it prints.
    ///
    /// # Errors
    /// It fails, or prints no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.portlane(&[&["--json"], arguments].concat())?;
        serde_json::from_str(&text).with_context(|| format!("`portlane --json {}`: {text}", arguments.join(" ")))
    }

    /// Packets that were refused or went another way for this reason, at all hooks together.
    ///
    /// # Errors
    /// `portlane stats` fails.
    pub fn counted(&self, reason: &str) -> Result<u64> {
        let stats = self.json(&["stats"])?;
        let rows = stats["reasons"].as_array().context("`stats` has no reasons")?;
        Ok(rows.iter().filter(|row| row["reason"] == reason).filter_map(|row| row["packets"].as_u64()).sum())
    }

    /// The entries of one of this portlane's maps, as bpftool shows them to users.
    ///
    /// # Errors
    /// There is no such map.
    pub fn dump(&self, map: &str) -> Result<Vec<Value>> {
        let path = self.bpffs().join("maps").join(map);
        let arguments = ["-j", "map", "dump", "pinned", &path.to_string_lossy()];
        let output = Command::new("bpftool").args(arguments).output().context("cannot start bpftool")?;
        let dump = finish(&format!("bpftool {}", arguments.join(" ")), &output)?;
        let entries: Vec<Value> = serde_json::from_str(&dump).with_context(|| format!("{map}: {dump}"))?;
        Ok(entries.into_iter().map(|mut entry| entry["formatted"].take()).collect())
    }

    /// The words of a portlane command, for where somebody else is to start it.
    pub fn portlane_words(&self, arguments: &[&str]) -> Vec<String> {
        [self.portlane_command(), words(arguments)].concat()
    }

    pub(crate) fn portlane_command(&self) -> Vec<String> {
        [netns_entry(&self.host_netns()), self.portlane_program()].concat()
    }

    fn portlane_program(&self) -> Vec<String> {
        let mut command = words(&[&self.portlane.to_string_lossy()]);
        let without = *self.without.lock().expect(UNBROKEN);
        if !without.is_empty() {
            command.extend(words(&["--without", without]));
        }
        for (option, path) in [("--config", self.daemon_json()), ("--root", self.state()), ("--bpffs", self.bpffs())] {
            command.extend([option.to_owned(), path.to_string_lossy().into_owned()]);
        }
        command
    }

    fn ready(&self) -> Result<Ready> {
        Ready::new(&self.folder)
    }

    /// Prints what there is to see; best effort.
    fn explain(&self) {
        for command in ["ps", "network ls", "stats", "flows"] {
            let arguments: Vec<&str> = command.split(' ').collect();
            match self.portlane(&arguments) {
                Ok(text) => eprintln!("$ portlane {command}\n{text}"),
                Err(error) => eprintln!("$ portlane {command}\n{error:#}"),
            }
        }
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        // Best effort, each: after a failed test some of it is not there.
        drop(limited(&[self.portlane_command(), words(&["uninstall", "--force"])].concat()).output());
        drop(ip(&format!("netns del {}", self.host_netns())));
        drop(ip(&format!("netns del {}", self.outside_netns())));
        drop(fs::remove_dir_all(self.bpffs()));
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A name that nobody has, and the folder that reserves it.
fn unique_folder() -> Result<(String, PathBuf)> {
    for _ in 0..DRAWS {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let name = format!("pt-{}", uuid.get(..8).unwrap_or_default());
        let folder = Path::new(FILES).join(&name);
        match DirBuilder::new().mode(0o755).create(&folder) {
            Ok(()) => return Ok((name, folder)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", folder.display())),
        }
    }
    bail!("no name is free in {FILES}")
}

/// A program of this package, which cargo puts into the folder above that of the tests.
fn built(name: &str) -> Result<PathBuf> {
    let test = env::current_exe()?;
    let path = test.ancestors().nth(2).context("this test is in no folder")?.join(name);
    ensure!(path.is_file(), "{} is not built", path.display());
    Ok(path)
}

/// `nsenter`, since `ip netns exec` hides the sandbox's bpffs and cgroup2 under a new /sys.
fn netns_entry(netns: &str) -> Vec<String> {
    vec!["nsenter".to_owned(), format!("--net=/run/netns/{netns}"), "--".to_owned()]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// iproute2, with arguments separated by spaces.
///
/// # Errors
/// It fails.
pub fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().context("cannot start ip")?;
    finish(&format!("ip {arguments}"), &output).map(drop)
}
