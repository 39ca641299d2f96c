//! The loaded programs, run over single packets (`BPF_PROG_TEST_RUN`) in a network namespace that holds the world of
//! `portlane_datapath::testing`.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use bytemuck::Pod;
use nix::sched::{CloneFlags, unshare};
use portlane::{
    bpf::{
        Datapath, LoadSettings,
        layout::{self, Layout},
    },
    linux::{
        bpf_run::{self, Run, Sum},
        bpf_syscall, netns,
    },
    model::Tables,
};
use portlane_common::{
    config::{Config, FLOW_SHARE, RESERVED_BLOCKS, program as next},
    endpoint::Share,
    reason::Hook,
};
use portlane_datapath::testing::world::{
    Interfaces, MEMBERS, Member, OUTSIDE_MAC, UPLINK_MAC, Version, World, bridge_mac,
};

/// What a tc program returned, in the words of `linux/pkt_cls.h`.
pub mod tc {
    /// On to whatever comes next.
    pub const UNSPEC: u32 = u32::MAX;
    /// Dropped.
    pub const SHOT: u32 = 2;
    /// To the interface that a helper was told.
    pub const REDIRECT: u32 = 7;
}

/// What an XDP program returned, in the words of `linux/bpf.h`.
pub mod xdp {
    /// Dropped.
    pub const DROP: u32 = 1;
    /// On to tc.
    pub const PASS: u32 = 2;
}

/// Bytes of `struct __sk_buff` up to and with `ifindex`.
const SK_BUFF: usize = 44;

/// Programs in the kernel, and tables that hold the world.
#[derive(Debug)]
pub struct Programs {
    /// Numbers of the namespace's interfaces.
    pub interfaces: Interfaces,
    datapath: Datapath,
    folder: PathBuf,
    /// Opened once, by hook.
    hooks: BTreeMap<Hook, OwnedFd>,
    /// What the control tables hold.
    filled: RefCell<Tables>,
}

/// Runs a test in a network namespace of its own, with the programs loaded; `name` is unlike that of any other test.
///
/// # Errors
/// The namespace, its interfaces or the programs cannot be made; the test's.
pub fn test(name: &str, body: impl FnOnce(&Programs) -> Result<()> + Send) -> Result<()> {
    test_with(name, LoadSettings::default(), body)
}

/// The same, with the programs loaded in another way.
///
/// # Errors
/// As above.
pub fn test_with(name: &str, settings: LoadSettings, body: impl FnOnce(&Programs) -> Result<()> + Send) -> Result<()> {
    let in_namespace = || {
        unshare(CloneFlags::CLONE_NEWNET).context("no network namespace")?;
        body(&Programs::new(name, settings)?)
    };
    thread::scope(|scope| scope.spawn(in_namespace).join().unwrap_or_else(|_| Err(anyhow!("the test panicked"))))
}

impl Programs {
    fn new(name: &str, settings: LoadSettings) -> Result<Self> {
        let interfaces = make_interfaces()?;
        let folder = Path::new("/sys/fs/bpf").join(format!("run-{name}"));
        let settings = LoadSettings { netns_cookie: netns::host_cookie()?, ..settings };
        let datapath = Datapath::open(&folder, settings)?;
        let open = |hook: Hook| Ok((hook, bpf_syscall::obj_get(&folder.join("progs").join(hook.name()))?));
        let hooks = Hook::ALL.into_iter().map(open).collect::<Result<_>>()?;
        let programs = Self { interfaces, datapath, folder, hooks, filled: RefCell::default() };
        programs.fill()?;
        Ok(programs)
    }

    fn fill(&self) -> Result<()> {
        let world = World::new(&self.interfaces);
        let config = config(&world);
        self.set_world(world)?;
        Ok(self.datapath.put_config(&config)?)
    }

    /// Has the control tables hold a world, whose ranges are of sizes that `pl_config` knows.
    ///
    /// # Errors
    /// The maps cannot be changed.
    pub fn set_world(&self, world: World) -> Result<()> {
        let World {
            veth,
            uplink,
            endpoint4,
            endpoint6,
            host4,
            host6,
            publish4,
            publish6,
            source4,
            source6,
            generation,
            policy,
            published: _,
        } = world;
        let tables = Tables {
            veth,
            uplink,
            endpoint4,
            endpoint6,
            reserved: BTreeMap::new(),
            host4,
            host6,
            publish4,
            publish6,
            source4,
            source6,
            generation,
            policy,
            config: Config::default(),
        };
        let (puts, deletes) = tables.difference(&self.filled.borrow());
        for row in puts {
            self.datapath.put(&row)?;
        }
        for row in deletes {
            self.datapath.delete(&row)?;
        }
        self.filled.replace(tables);
        Ok(())
    }

    /// Forgets every flow.
    ///
    /// # Errors
    /// The maps cannot be changed.
    pub fn forget_flows(&self) -> Result<()> {
        self.forget(&layout::FLOW4)?;
        self.forget(&layout::FLOW6)?;
        self.forget(&layout::NEW4)?;
        self.forget(&layout::NEW6)
    }

    /// Forgets every datagram in pieces, and those that are kept.
    ///
    /// # Errors
    /// The maps cannot be changed.
    pub fn forget_datagrams(&self) -> Result<()> {
        self.forget(&layout::DATAGRAM4)?;
        self.forget(&layout::DATAGRAM6)?;
        self.forget(&layout::HELD4)?;
        self.forget(&layout::HELD6)
    }

    /// Forgets which conversations containers hold, as [`Self::forget_flows`] does behind the programs' back.
    ///
    /// # Errors
    /// The map cannot be changed.
    pub fn forget_shares(&self) -> Result<()> {
        let shares = self.datapath.table(&layout::SHARE)?;
        MEMBERS.iter().try_for_each(|member| Ok(shares.put(&member.endpoint, &Share::default())?))
    }

    /// Has every container hold no more conversations than this.
    ///
    /// # Errors
    /// The map cannot be changed.
    pub fn set_share(&self, flow_share: u32) -> Result<()> {
        Ok(self.datapath.put_config(&Config { flow_share, ..config(&World::new(&self.interfaces)) })?)
    }

    /// Keeps every port for the administrator.
    ///
    /// # Errors
    /// The map cannot be changed.
    pub fn reserve_every_port(&self) -> Result<()> {
        let all = (0..RESERVED_BLOCKS).map(|block| (block, [u64::MAX; 4]));
        let reserved = Tables { reserved: all.collect(), ..Tables::default() };
        let (puts, _) = reserved.difference(&Tables::default());
        puts.iter().try_for_each(|row| Ok(self.datapath.put(row)?))
    }

    /// Has the host forward nothing from a container's network.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop_forwarding(&self, member: Member) -> Result<()> {
        forward(member.network, false)
    }

    /// Takes away every tc program that carries on where a first one leaves off.
    ///
    /// # Errors
    /// The map cannot be changed.
    pub fn unload_the_rest(&self) -> Result<()> {
        let next = bpf_syscall::Map::open(&self.folder.join("maps/pl_next"), 1)?;
        for place in 0..next::NEXT.len() as u32 {
            next.delete(&place.to_ne_bytes())?;
        }
        Ok(())
    }

    fn forget<K: Pod + Ord, V: Pod>(&self, layout: &Layout<K, V>) -> Result<()> {
        let table = self.datapath.table(layout)?;
        for key in table.read_all()?.keys() {
            table.delete(key)?;
        }
        Ok(())
    }

    /// Runs a tc program over a packet that came into the host by `origin` and meets the program at `ifindex`.
    ///
    /// # Errors
    /// The kernel refuses, or finds the NIC's sum wrong afterwards (`EBADMSG`).
    pub fn tc(&self, hook: Hook, packet: &[u8], origin: u32, ifindex: u32, sum: Sum) -> Result<Run> {
        Ok(bpf_run::run(self.hooks[&hook].as_fd(), packet, &sk_buff(origin, ifindex), sum, 1)?)
    }

    /// Runs a tc program over a packet that arrives at `ifindex`, and then over what it has made of it, `repeat` times in
    /// all.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn tc_repeatedly(&self, hook: Hook, packet: &[u8], ifindex: u32, repeat: u32) -> Result<Run> {
        let context = sk_buff(ifindex, ifindex);
        Ok(bpf_run::run(self.hooks[&hook].as_fd(), packet, &context, Sum::None, repeat)?)
    }

    /// Runs the XDP program over a packet that arrives at `ifindex`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn xdp(&self, packet: &[u8], ifindex: u32) -> Result<Run> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex.
        let context: Vec<u8> =
            [0, packet.len() as u32, 0, ifindex].iter().flat_map(|word| word.to_ne_bytes()).collect();
        Ok(bpf_run::run(self.hooks[&Hook::FromUplinkXdp].as_fd(), packet, &context, Sum::None, 1)?)
    }

    /// Packets counted so far, by hook and reason.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counted(&self) -> Result<BTreeMap<(&'static str, &'static str), u64>> {
        let reasons = self.datapath.reasons()?;
        Ok(reasons.into_iter().map(|(hook, reason, count)| ((hook.name(), reason.name()), count.packets)).collect())
    }

    /// The programs, as the kernel holds them.
    pub const fn datapath(&self) -> &Datapath {
        &self.datapath
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // The sandbox ends with its bpffs; this only frees memory early.
        drop(portlane::bpf::remove(&self.folder));
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// What `pl_config` holds for a world.
pub fn config(world: &World) -> Config {
    let classes = |classes: &mut dyn Iterator<Item = u8>| classes.fold(0, |bits, class| bits | 1 << class);
    let (four, six) = (world.publish4.keys().map(|key| key.class), world.publish6.keys().map(|key| key.class));
    Config {
        publish_classes: classes(&mut four.chain(six)),
        flow_share: FLOW_SHARE,
        policy_classes: classes(&mut world.policy.keys().map(|key| key.class)),
        ..Config::default()
    }
}

/// The context of a packet that came into the host by `origin` and meets a tc program at `ifindex`.
pub fn sk_buff(origin: u32, ifindex: u32) -> [u8; SK_BUFF] {
    let mut context = [0; SK_BUFF];
    context[36..40].copy_from_slice(&origin.to_ne_bytes());
    context[40..44].copy_from_slice(&ifindex.to_ne_bytes());
    context
}

/// The interfaces of the world, in the thread's namespace.
fn make_interfaces() -> Result<Interfaces> {
    ip("link set lo up")?;
    ip("link add up0 type veth peer name out0")?;
    ip(&format!("link set up0 address {} up", text(UPLINK_MAC)))?;
    ip("link set out0 up")?;
    for version in Version::BOTH {
        for host in [1, 9] {
            address("up0", version.address(0, host))?;
        }
        for outside in [version.outside(), version.farther()] {
            ip(&format!("neigh add {outside} lladdr {} dev up0 nud permanent", text(OUTSIDE_MAC)))?;
        }
    }
    for network in 1..=4u8 {
        ip(&format!("link add br{network} address {} type bridge", text(bridge_mac(network))))?;
        ip(&format!("link set br{network} up"))?;
        for version in Version::BOTH {
            address(&format!("br{network}"), version.address(network, 1))?;
        }
        forward(network, true)?;
    }
    for member in MEMBERS {
        let (veth, peer) = (format!("v{}", member.endpoint), format!("p{}", member.endpoint));
        ip(&format!("link add {veth} type veth peer name {peer}"))?;
        ip(&format!("link set {veth} master br{} up", member.network))?;
        ip(&format!("link set {peer} up"))?;
    }
    let index = |name: &str| nix::net::if_::if_nametoindex(name).with_context(|| name.to_owned());
    let mut interfaces = Interfaces { uplink: index("up0")?, ..Interfaces::ANY };
    for (number, bridge) in (1..).zip(&mut interfaces.bridges) {
        *bridge = index(&format!("br{number}"))?;
    }
    for (number, veth) in (1..).zip(&mut interfaces.veths) {
        *veth = index(&format!("v{number}"))?;
    }
    Ok(interfaces)
}

/// Whether the host forwards what comes from a network.
fn forward(network: u8, on: bool) -> Result<()> {
    ["ipv4", "ipv6"].iter().try_for_each(|family| {
        shell(&format!("echo {} > /proc/sys/net/{family}/conf/br{network}/forwarding", u8::from(on)))
    })
}

fn address(interface: &str, address: IpAddr) -> Result<()> {
    let rest = if address.is_ipv4() { "/24" } else { "/64" };
    let nodad = if address.is_ipv4() { "" } else { "nodad" };
    ip(&format!("addr add {address}{rest} dev {interface} {nodad}"))
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn ip(arguments: &str) -> Result<()> {
    finish(Command::new("ip").args(arguments.split_whitespace()), arguments)
}

fn shell(script: &str) -> Result<()> {
    finish(Command::new("sh").args(["-c", script]), script)
}

fn finish(command: &mut Command, said: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| said.to_owned())?;
    if !output.status.success() {
        bail!("{said}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
