//! Programs on interfaces and on the cgroup: which are there, putting them there, taking them off.
//!
//! Every attachment is a pinned link, so it outlives the command and its pin is the record of it. Where the kernel has
//! no tcx links, a clsact filter takes their place and a symbolic link that of the pin (see [`super::clsact`]).

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Path, PathBuf},
};

use nix::net::if_::if_nametoindex;
use portlane_common::{config::program, reason::Hook};

use super::{
    clsact,
    error::{BpfError, Result},
    load::Datapath,
    pins::{self, Pins},
    qdisc,
};
use crate::{
    linux::{
        Fallback,
        bpf_syscall::{self, AttachType, LinkInfo},
    },
    model::{Attachment, VETH_HOOKS},
};

impl Datapath {
    /// What is pinned of attachments, for [`Self::attachments`] to look at.
    pub fn pinned(&self) -> Result<Pinned> {
        Pinned::list(self.bpffs())
    }

    /// Attachments in force: of these programs, to interfaces that exist, whose indices by name these are. Removes pins of
    /// interfaces that are gone.
    pub fn attachments(&self, pinned: &Pinned, interfaces: &BTreeMap<String, u32>) -> Result<BTreeSet<Attachment>> {
        let (mut found, mut known) = (BTreeSet::new(), Known::of(&self.pins, Some(interfaces)));
        for name in &pinned.names {
            let Some(attachment) = pins::attachment(name) else {
                qdisc::forget(&self.pins, name, |interface| interfaces.get(interface).copied())?;
                continue;
            };
            let state = self.state(&attachment, &mut known)?;
            if matches!(state, State::Attached) {
                found.insert(attachment);
            } else if matches!(state, State::Stale) {
                pins::remove(&self.pins.links().join(name))?;
            }
        }
        Ok(found)
    }

    /// Attaches a program to an interface, behind whatever other programs are there. Does nothing if it is attached.
    pub fn attach(&self, attachment: &Attachment) -> Result<()> {
        let Attachment { interface, hook } = attachment;
        let path = self.pins.links().join(pins::link_name(attachment));
        match self.state(attachment, &mut Known::of(&self.pins, None))? {
            State::Attached => return Ok(()),
            State::Outdated => return replace(&self.pins, attachment),
            State::Stale => pins::remove(&path)?,
            State::Absent => {}
        }
        let ifindex = index_of(interface).ok_or_else(|| BpfError::NoInterface(interface.clone()))?;
        if clsact::serves(*hook) && Fallback::Tcx.is_declared_missing() {
            return self.attach_clsact(attachment, ifindex);
        }
        let program = self.pins.open_program(hook.name())?;
        match bpf_syscall::link_interface(program.as_fd(), ifindex, attach_type(*hook)) {
            Ok(link) => bpf_syscall::obj_pin(link.as_fd(), &path).map_err(BpfError::pin("created", path)),
            // Before Linux 6.6, tcx is an unknown attach type.
            Err(error) if clsact::serves(*hook) && error.raw_os_error() == Some(libc::EINVAL) => {
                self.attach_clsact(attachment, ifindex)
            }
            Err(error) if *hook == Hook::FromUplinkXdp && error.kind() == io::ErrorKind::Unsupported => {
                Err(BpfError::NoNativeXdp(interface.clone()))
            }
            Err(error) => Err(failed(hook.name(), interface)(error)),
        }
    }

    /// Attaches a tc program as a clsact filter, as [`Self::attach`] does where tcx is missing.
    fn attach_clsact(&self, attachment: &Attachment, ifindex: u32) -> Result<()> {
        let Attachment { interface, hook } = attachment;
        let path = self.pins.links().join(pins::link_name(attachment));
        // The record comes first: a filter without one would never be found again.
        pins::remove(&path)?;
        symlink(clsact::RECORD, &path).map_err(BpfError::pin("created", path))?;
        qdisc::make(&self.pins, interface, ifindex)?;
        let program = self.pins.program(hook.name());
        clsact::attach(&program, ifindex, interface, *hook).map_err(failed(hook.name(), interface))
    }

    /// Takes a program off an interface. Does nothing if it is not attached; other programs stay.
    pub fn detach(&self, attachment: &Attachment) -> Result<()> {
        detach(&self.pins, &pins::link_name(attachment))
    }

    /// Attaches the socket programs to the cgroup. Does nothing for those that are attached. They are the first to be attached,
    /// so it makes the folder of links if somebody took that away.
    pub fn attach_sockets(&self) -> Result<()> {
        self.pins.create_links()?;
        let path = self.cgroup.clone().or_else(mounted_cgroup).ok_or(BpfError::NoCgroup)?;
        let cgroup = fs::File::open(&path).map_err(BpfError::pin("opened", &path))?;
        for name in program::SOCK_ADDR {
            let pin = self.pins.links().join(name);
            let program = self.pins.open_program(name)?;
            let link = match bpf_syscall::obj_get(&pin) {
                Ok(link) => {
                    bpf_syscall::link_update(link.as_fd(), program.as_fd())
                        .map_err(failed(name, &path.to_string_lossy()))?;
                    continue;
                }
                Err(_) => bpf_syscall::link_cgroup(program.as_fd(), cgroup.as_fd(), sock_addr_type(name)),
            };
            let link = link.map_err(failed(name, &path.to_string_lossy()))?;
            bpf_syscall::obj_pin(link.as_fd(), &pin).map_err(BpfError::pin("created", pin))?;
        }
        Ok(())
    }

    /// Whether every socket program is attached.
    pub fn sockets_attached(&self) -> Result<bool> {
        let links = self.pins.links();
        for name in program::SOCK_ADDR {
            let path = links.join(name);
            if !path.try_exists().map_err(BpfError::pin("read", path))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes every program off everything.
    pub fn detach_all(&self) -> Result<()> {
        detach_all(&self.pins)
    }

    fn state(&self, attachment: &Attachment, known: &mut Known<'_>) -> Result<State> {
        let path = self.pins.links().join(pins::link_name(attachment));
        let ifindex = known.index_of(&attachment.interface);
        let Some(LinkInfo { program, ifindex: at }) = open_link(&path)? else {
            // A record leads nowhere.
            return if is_record(&path) { clsact_state(attachment, ifindex, known) } else { Ok(State::Absent) };
        };
        if at == 0 || Some(at) != ifindex {
            return Ok(State::Stale);
        }
        let current = known.program(attachment.hook)?;
        Ok(if program == current { State::Attached } else { State::Outdated })
    }
}

/// Names of the pins of attachments at one moment.
#[derive(Debug)]
pub struct Pinned {
    names: Vec<String>,
}

impl Pinned {
    /// Those under this folder.
    pub fn list(bpffs: &Path) -> Result<Self> {
        let mut names = Vec::new();
        pins::each_name(&Pins::new(bpffs).links(), |name| names.push(name.to_owned()))?;
        Ok(Self { names })
    }

    /// Whether there is one for each program on each of the veths of `others`, which are not looked at any more: of many containers
    /// that is a long list.
    pub fn believe(&mut self, others: &HashSet<&str>) -> bool {
        let mut of_others = 0;
        self.names.retain(|name| match name.split_once('-') {
            // No name is there twice. A veth's has no dot, which would read otherwise in a pin's.
            Some((hook, interface)) if others.contains(interface) => {
                of_others += usize::from(VETH_HOOKS.iter().any(|known| known.name() == hook));
                false
            }
            _ => true,
        });
        of_others == others.len() * VETH_HOOKS.len()
    }
}

fn clsact_state(attachment: &Attachment, ifindex: Option<u32>, known: &mut Known<'_>) -> Result<State> {
    let Attachment { interface, hook } = attachment;
    let Some(ifindex) = ifindex else { return Ok(State::Stale) };
    let program = known.program(*hook)?;
    Ok(match clsact::find(ifindex, *hook).map_err(failed(hook.name(), interface))? {
        Some(found) if found.program == program => State::Attached,
        Some(_) => State::Outdated,
        None => State::Stale,
    })
}

/// What is the same for many attachments, looked up once.
struct Known<'a> {
    pins: &'a Pins,
    /// Indices of all interfaces; none for those who look at one.
    interfaces: Option<&'a BTreeMap<String, u32>>,
    programs: BTreeMap<&'static str, u32>,
}

impl<'a> Known<'a> {
    const fn of(pins: &'a Pins, interfaces: Option<&'a BTreeMap<String, u32>>) -> Self {
        Self { pins, interfaces, programs: BTreeMap::new() }
    }

    fn index_of(&self, interface: &str) -> Option<u32> {
        match self.interfaces {
            Some(all) => all.get(interface).copied(),
            None => index_of(interface),
        }
    }

    /// Number of the program that is pinned for a hook.
    fn program(&mut self, hook: Hook) -> Result<u32> {
        if let Some(id) = self.programs.get(hook.name()) {
            return Ok(*id);
        }
        let id = program_id(&self.pins.open_program(hook.name())?, &self.pins.program(hook.name()))?;
        self.programs.insert(hook.name(), id);
        Ok(id)
    }
}

/// What a pin in `links` stands for.
#[derive(Clone, Copy, Debug)]
enum State {
    /// There is none.
    Absent,
    /// Attached to an interface that is gone, even if another has its name.
    Stale,
    /// Attached, with another program than the loaded one.
    Outdated,
    /// Attached.
    Attached,
}

/// Puts the pinned programs behind every link.
pub(super) fn replace_all(pins: &Pins) -> Result<()> {
    for name in pins::names(&pins.links())? {
        if let Some(attachment) = pins::attachment(&name) {
            replace(pins, &attachment)?;
        } else if program::SOCK_ADDR.contains(&name.as_str()) {
            let path = pins.links().join(&name);
            let link = bpf_syscall::obj_get(&path).map_err(BpfError::pin("opened", &path))?;
            let program = pins.open_program(&name)?;
            bpf_syscall::link_update(link.as_fd(), program.as_fd()).map_err(BpfError::pin("replaced", path))?;
        }
    }
    Ok(())
}

/// Puts the pinned program behind one link, between two packets.
fn replace(pins: &Pins, attachment: &Attachment) -> Result<()> {
    let Attachment { interface, hook } = attachment;
    let path = pins.links().join(pins::link_name(attachment));
    if is_record(&path) {
        let Some(ifindex) = index_of(interface) else { return pins::remove(&path) };
        return match clsact::find(ifindex, *hook).map_err(failed(hook.name(), interface))? {
            Some(_) => {
                let program = pins.program(hook.name());
                clsact::attach(&program, ifindex, interface, *hook).map_err(failed(hook.name(), interface))
            }
            None => pins::remove(&path),
        };
    }
    let link = bpf_syscall::obj_get(&path).map_err(BpfError::pin("opened", &path))?;
    match bpf_syscall::link_update(link.as_fd(), pins.open_program(hook.name())?.as_fd()) {
        // The interface is gone.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLINK | libc::ENODEV)) => pins::remove(&path),
        result => result.map_err(failed(hook.name(), interface)),
    }
}

pub(super) fn detach_all(pins: &Pins) -> Result<()> {
    let (attachments, others): (Vec<_>, Vec<_>) =
        pins::names(&pins.links())?.into_iter().partition(|name| pins::attachment(name).is_some());
    // The record of a qdisc is wanted until the last filter is off.
    attachments.iter().chain(&others).try_for_each(|name| detach(pins, name))
}

fn detach(pins: &Pins, name: &str) -> Result<()> {
    let path = pins.links().join(name);
    if let Some(Attachment { interface, hook }) = pins::attachment(name).filter(|_| is_record(&path))
        && let Some(ifindex) = index_of(&interface)
    {
        clsact::detach(ifindex, &interface, hook).map_err(failed(hook.name(), &interface))?;
        qdisc::release(pins, &interface, ifindex)?;
    }
    // A link without a pin and without an open descriptor is gone, and its program detached.
    pins::remove(&path)
}

fn open_link(path: &Path) -> Result<Option<LinkInfo>> {
    match bpf_syscall::obj_get(path).and_then(|link| bpf_syscall::link_info(link.as_fd())) {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BpfError::pin("opened", path)(error)),
    }
}

fn program_id(program: &OwnedFd, path: &Path) -> Result<u32> {
    bpf_syscall::program_id(program.as_fd()).map_err(BpfError::pin("read", path))
}

fn is_record(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}

fn index_of(interface: &str) -> Option<u32> {
    if_nametoindex(interface).ok()
}

fn failed(program: &'static str, target: &str) -> impl FnOnce(io::Error) -> BpfError {
    let target = target.to_owned();
    move |source| match source.raw_os_error() {
        Some(libc::EPERM) => BpfError::Denied { action: format!("{program} to be attached to {target}") },
        _ => BpfError::Attach { program, target, source },
    }
}

const fn attach_type(hook: Hook) -> AttachType {
    match hook {
        Hook::FromContainer | Hook::FromUplink | Hook::FromUplinkL3 | Hook::BehindXdp => AttachType::TcxIngress,
        Hook::ToContainer | Hook::ToUplink => AttachType::TcxEgress,
        Hook::FromUplinkXdp => AttachType::XdpNative,
    }
}

/// The hook that a socket program is named after.
fn sock_addr_type(program: &str) -> AttachType {
    match program {
        "bind4" => AttachType::Bind4,
        "bind6" => AttachType::Bind6,
        "connect4" => AttachType::Connect4,
        "connect6" => AttachType::Connect6,
        "sendmsg4" => AttachType::Sendmsg4,
        "sendmsg6" => AttachType::Sendmsg6,
        "recvmsg4" => AttachType::Recvmsg4,
        "recvmsg6" => AttachType::Recvmsg6,
        "getpeername4" => AttachType::Getpeername4,
        "getpeername6" => AttachType::Getpeername6,
        other => unreachable!("{other} is not in program::SOCK_ADDR"),
    }
}

/// Where the cgroup2 hierarchy is mounted: beside the older ones on a hybrid system.
pub fn mounted_cgroup() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    cgroup_in(&mounts)
}

fn cgroup_in(mounts: &str) -> Option<PathBuf> {
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    // Blanks in a path are written as octal escapes.
    lines.find_map(|line| (*line.get(2)? == "cgroup2").then(|| line[1].replace("\\040", " ").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_hierarchy_is_found_on_plain_and_hybrid_systems() {
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\nnone /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup_in(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup_in("cgroup2 /a\\040b cgroup2 rw 0 0"), Some("/a b".into()));
        assert_eq!(cgroup_in("proc /proc proc rw 0 0"), None);
    }

    #[test]
    fn every_socket_program_has_its_hook() {
        let types: BTreeSet<u32> = program::SOCK_ADDR.iter().map(|name| sock_addr_type(name) as u32).collect();
        assert_eq!(types.len(), program::SOCK_ADDR.len());
    }
}
