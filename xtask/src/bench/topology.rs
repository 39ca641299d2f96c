//! The machines of one peer, as network namespaces, and the cables between them.
//!
//! ```text
//!   outside 192.0.2.2 ──── up0 192.0.2.1  host  br0 172.17.0.1 ──┬── a 172.17.0.2
//!           2001:db8:1::2      2001:db8:1::1    fd00:17::1       └── b 172.17.0.3
//! ```
//!
//! Every peer has machines of its own with the same addresses, so that all are there at once and take turns. They go with
//! the sandbox.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use nix::{
    fcntl::{OFlag, open},
    sys::stat::Mode,
};

use super::paths::Family;
use crate::run::tool;

/// The host's bridge. Portlane and Docker have another name for it; the length of a name costs nothing.
pub const BRIDGE: &str = "br0";
/// The host's interface towards [`Place::Outside`].
const UPLINK: &str = "up0";
/// Every other machine's only interface.
const INTERFACE: &str = "eth0";
/// Bytes of the longest TCP trains that an uplink is made to carry: those of portlane's `big-tcp`.
const LONG_TRAIN: &str = "196608";
/// Has an interface carry them.
const CARRIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/src/scripts/carries.py");
/// What servers listen on, TCP and UDP.
pub const SERVED: u16 = 80;

/// The containers' network, in both families.
pub const SUBNETS: [&str; 2] = ["172.17.0.0/16", "fd00:17::/64"];

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Outside,
    Host,
    /// The container whose ports are published.
    A,
    /// Another one.
    B,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Host => "host",
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The address that it has unless somebody else chose one. The host's is the one on its uplink.
    pub fn address(self, family: Family) -> IpAddr {
        let outer = |last| family.pick::<IpAddr>(Ipv4Addr::new(192, 0, 2, last).into(), outer6(last.into()).into());
        match self {
            Self::Host => outer(1),
            Self::Outside => outer(2),
            Self::A => container(2, family),
            Self::B => container(3, family),
        }
    }
}

/// An address on the containers' network.
pub fn container(number: u16, family: Family) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    let six = Ipv6Addr::new(0xfd00, 0x17, 0, 0, 0, 0, 0, number);
    family.pick(Ipv4Addr::new(172, 17, high, low).into(), six.into())
}

fn outer6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last)
}

/// The machines of one peer.
#[derive(Debug)]
pub struct Topology {
    /// Begins the names of its namespaces.
    name: String,
    places: Vec<Place>,
}

impl Topology {
    /// Two machines with nothing between them but a cable: outside and the container.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn pair(name: &str) -> Result<Self> {
        let this = Self::machines(name, &[Place::Outside, Place::A])?;
        this.cable((Place::Outside, INTERFACE), (Place::A, INTERFACE))?;
        for (place, other) in [(Place::Outside, Place::A), (Place::A, Place::Outside)] {
            this.end(place, INTERFACE, false)?;
            for family in Family::BOTH {
                this.ip(place, &format!("route add {} dev {INTERFACE}", other.address(family)))?;
            }
        }
        Ok(this)
    }

    /// Outside and the host, with two containers that have nothing but `lo`.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn host(name: &str) -> Result<Self> {
        let this = Self::machines(name, &[Place::Outside, Place::Host, Place::A, Place::B])?;
        this.cable((Place::Host, UPLINK), (Place::Outside, INTERFACE))?;
        this.end(Place::Host, UPLINK, true)?;
        this.end(Place::Outside, INTERFACE, true)?;
        Ok(this)
    }

    /// The same with the containers on a bridge, and a host that forwards.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn bridged(name: &str) -> Result<Self> {
        let this = Self::host(name)?;
        this.forwards()?;
        this.ip(Place::Host, &format!("link add {BRIDGE} type bridge"))?;
        this.ip(Place::Host, &format!("link set {BRIDGE} up"))?;
        for family in Family::BOTH {
            let length = family.pick(16, 64);
            this.address(Place::Host, BRIDGE, container(1, family), length)?;
        }
        for place in [Place::A, Place::B] {
            let port = this.contained(place)?;
            this.ip(Place::Host, &format!("link set {port} master {BRIDGE}"))?;
            this.end(place, INTERFACE, true)?;
            this.gateway(place, |family| container(1, family))?;
        }
        Ok(this)
    }

    /// The same with a route to each container in the place of the bridge, and one at each machine outside.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn routed(name: &str) -> Result<Self> {
        let this = Self::host(name)?;
        this.forwards()?;
        for place in [Place::A, Place::B] {
            let port = this.contained(place)?;
            this.end(place, INTERFACE, false)?;
            for family in Family::BOTH {
                this.address(Place::Host, &port, container(1, family), family.pick(32, 128))?;
                this.ip(Place::Host, &format!("route add {} dev {port}", place.address(family)))?;
                this.ip(place, &format!("route add {} dev {INTERFACE}", container(1, family)))?;
            }
            this.gateway(place, |family| container(1, family))?;
        }
        this.gateway(Place::Outside, |family| Place::Host.address(family))?;
        Ok(this)
    }

    fn machines(name: &str, places: &[Place]) -> Result<Self> {
        let this = Self { name: name.to_owned(), places: places.to_vec() };
        for place in places {
            ip(&format!("netns add {}", this.netns(*place)))?;
            this.ip(*place, "link set lo up")?;
            // Nobody else has the addresses, so there is no second to be spent on finding that out.
            this.sysctl(*place, "net/ipv6/conf/default/accept_dad", "0")?;
        }
        Ok(this)
    }

    fn forwards(&self) -> Result<()> {
        self.sysctl(Place::Host, "net/ipv4/ip_forward", "1")?;
        self.sysctl(Place::Host, "net/ipv6/conf/all/forwarding", "1")
    }

    /// A container's cable to the host; returns the host's end.
    fn contained(&self, place: Place) -> Result<String> {
        let port = format!("veth-{}", place.name());
        self.cable((Place::Host, &port), (place, INTERFACE))?;
        self.ip(Place::Host, &format!("link set {port} up"))?;
        Ok(port)
    }

    fn cable(&self, (near, one): (Place, &str), (far, other): (Place, &str)) -> Result<()> {
        self.ip(near, &format!("link add {one} type veth peer name {other} netns {}", self.netns(far)))
    }

    /// An interface with the machine's addresses, up.
    fn end(&self, place: Place, interface: &str, on_link: bool) -> Result<()> {
        let long = if matches!(place, Place::A | Place::B) { 16 } else { 24 };
        for family in Family::BOTH {
            let length = if on_link { family.pick(long, 64) } else { family.pick(32, 128) };
            self.address(place, interface, place.address(family), length)?;
        }
        self.ip(place, &format!("link set {interface} up"))
    }

    fn address(&self, place: Place, interface: &str, address: IpAddr, length: u8) -> Result<()> {
        // Without duplicate address detection, which IPv4 has none of.
        let nodad = if address.is_ipv6() { "nodad" } else { "" };
        self.ip(place, &format!("address add {address}/{length} dev {interface} {nodad}"))
    }

    fn gateway(&self, place: Place, gateway: impl Fn(Family) -> IpAddr) -> Result<()> {
        // Without the interface's name, IPv6 wants an address that is up already.
        Family::BOTH.into_iter().try_for_each(|family| {
            self.ip(place, &format!("route add default via {} dev {INTERFACE}", gateway(family)))
        })
    }

    /// Has both ends of the uplink carry TCP trains of [`LONG_TRAIN`] bytes.
    ///
    /// # Errors
    /// The kernel has no such trains.
    pub fn carries_long_trains(&self) -> Result<()> {
        for (place, interface) in [(Place::Host, UPLINK), (Place::Outside, INTERFACE)] {
            // ip(8) can say so since iproute2 6.2 only.
            let mut command = self.command(place, "python3");
            command.args([CARRIES, "set", interface, LONG_TRAIN]);
            let families = said(&mut command)?;
            ensure!(families.trim() == "v4 v6", "this kernel has long trains for `{}` only", families.trim());
        }
        Ok(())
    }

    /// As `ip netns` calls a machine.
    pub fn netns(&self, place: Place) -> String {
        format!("{}-{}", self.name, place.name())
    }

    /// Its machines.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// A command on one of them.
    pub fn command(&self, place: Place, program: &str) -> Command {
        inside(&self.netns(place), program)
    }

    /// Sets what `/proc/sys` has for a machine.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn sysctl(&self, place: Place, path: &str, value: &str) -> Result<()> {
        quiet(self.command(place, "sh").args(["-c", &format!("echo {value} > /proc/sys/{path}")]))
    }

    fn ip(&self, place: Place, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.netns(place)))
    }
}

/// A command in a namespace: by `nsenter`, since `ip netns exec` hides the sandbox's bpffs and cgroup2 under a new /sys.
pub fn inside(netns: &str, program: &str) -> Command {
    let mut command = tool("nsenter");
    command.args([&format!("--net=/run/netns/{netns}"), "--", program]);
    command
}

/// An address with the port that servers listen on.
pub fn served(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, SERVED)
}

fn ip(arguments: &str) -> Result<()> {
    quiet(tool("ip").args(arguments.split_whitespace()))
}

/// Runs a command that has nothing to say when it succeeds.
///
/// # Errors
/// When it fails, with what it said.
pub fn quiet(command: &mut Command) -> Result<()> {
    said(command).map(drop)
}

/// Runs a command on a text; it has nothing to say when it succeeds.
///
/// # Errors
/// When it fails, with what it said.
pub fn fed(command: &mut Command, text: &str) -> Result<()> {
    // By a file: a pipe that nobody reads yet would have to be written by a thread.
    let mut file = tempfile()?;
    file.write_all(text.as_bytes()).and_then(|()| file.rewind()).context("cannot write a temporary file")?;
    quiet(command.stdin(file))
}

/// A file without a name, on the sandbox's own tmpfs.
fn tempfile() -> Result<File> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR;
    Ok(open("/run", flags, Mode::S_IRUSR | Mode::S_IWUSR).context("cannot make a temporary file")?.into())
}

/// Runs a command; returns what it prints.
///
/// # Errors
/// When it fails, with what it said.
pub fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
