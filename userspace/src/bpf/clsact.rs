//! tc programs as clsact filters, for kernels before 6.6.
//!
//! A filter is ours if it has our priority, our handle and one of our programs' names. The qdisc that filters need is
//! [`super::qdisc`]'s.

use std::{io, path::Path};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    links::Link,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact},
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};
use portlane_common::reason::Hook;

/// Target of the symbolic link that stands in `links` for a filter.
pub const RECORD: &str = "clsact";

/// Behind filters that others put first, before the kernel's automatic ones (49152 and down).
const PRIORITY: u16 = 20_000;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// `TC_H_CLSACT` with `TC_H_MIN_INGRESS`.
pub const INGRESS: u32 = 0xffff_fff2;
/// `TC_H_CLSACT` with `TC_H_MIN_EGRESS`.
pub const EGRESS: u32 = 0xffff_fff3;

/// `TC_H_CLSACT`, the qdisc's place.
const QDISC: u32 = 0xffff_fff1;
/// The qdisc's own number, `ffff:`.
const QDISC_HANDLE: u32 = 0xffff_0000;
/// `TCA_KIND` with its value.
const QDISC_KIND: &[u8; 12] = b"\x0b\0\x01\0clsact\0\0";

const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const DO: u16 = 0x5;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;
const NLMSG_HEADER: usize = 16;
const TCMSG: usize = 20;

/// A filter of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The program that it runs.
    pub program: u32,
}

/// Whether the hook can be a filter: all but XDP.
pub const fn serves(hook: Hook) -> bool {
    direction(hook).is_some()
}

/// Adds the qdisc; whether it was missing.
pub fn add_qdisc(interface: &str) -> io::Result<bool> {
    match qdisc_add_clsact(interface).map_err(tc_error) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the qdisc with all filters in it, if it is there.
pub fn remove_qdisc(ifindex: u32) -> io::Result<()> {
    match talk(&request(RTM_DELQDISC, DO, [ifindex, QDISC_HANDLE, QDISC], QDISC_KIND), |_| {}) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL)) => Ok(()),
        result => result,
    }
}

/// Whether anybody has a filter on either side of an interface.
pub fn has_filters(ifindex: u32) -> io::Result<bool> {
    let mut found = false;
    for parent in [INGRESS, EGRESS] {
        dump(ifindex, parent, |_| found = true)?;
    }
    Ok(found)
}

/// Adds the filter, or puts the program behind it if it is there. The interface has the qdisc.
pub fn attach(program: &Path, ifindex: u32, interface: &str, hook: Hook) -> io::Result<()> {
    let direction = direction(hook).ok_or(io::ErrorKind::InvalidInput)?;
    let mut program = SchedClassifier::from_pin(program).map_err(program_error)?;
    let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle: HANDLE, classid: None });
    let link = match program.attach_with_options(interface, direction, options).map_err(program_error) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Of a hook on the same side that this one takes over from, or of this one.
            if !Hook::ALL.into_iter().any(|ours| find(ifindex, ours).is_ok_and(|found| found.is_some())) {
                return Err(io::Error::other(format!("somebody else's filter has the priority {PRIORITY}")));
            }
            let filter = SchedClassifierLink::attached(interface, direction, PRIORITY, HANDLE, None)?;
            program.attach_to_link(filter).map_err(program_error)?
        }
        result => result?,
    };
    // Dropped, the link would take the filter off.
    std::mem::forget(program.take_link(link).map_err(program_error)?);
    Ok(())
}

/// Removes the filter, if it is there.
pub fn detach(ifindex: u32, interface: &str, hook: Hook) -> io::Result<()> {
    let Some(direction) = direction(hook) else { return Ok(()) };
    if find(ifindex, hook)?.is_none() {
        return Ok(());
    }
    let filter = SchedClassifierLink::attached(interface, direction, PRIORITY, HANDLE, None)?;
    filter.detach().map_err(program_error)
}

/// Our filter of this hook on an interface.
pub fn find(ifindex: u32, hook: Hook) -> io::Result<Option<Filter>> {
    let parent = match direction(hook) {
        Some(TcAttachType::Ingress) => INGRESS,
        Some(TcAttachType::Egress) => EGRESS,
        _ => return Ok(None),
    };
    let mut found = None;
    dump(ifindex, parent, |body| found = found.or(ours(body, hook)))?;
    Ok(found)
}

/// Numbers of all programs in filters on one side of an interface: [`INGRESS`] or [`EGRESS`].
pub fn programs(ifindex: u32, parent: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    dump(ifindex, parent, |body| {
        let options = body.get(TCMSG..).and_then(|attributes| attribute(attributes, TCA_OPTIONS));
        found.extend(options.and_then(program).map(|(_, id)| id));
    })?;
    Ok(found)
}

fn dump(ifindex: u32, parent: u32, visit: impl FnMut(&[u8])) -> io::Result<()> {
    talk(&request(RTM_GETTFILTER, DUMP, [ifindex, 0, parent], &[]), visit)
}

/// Asks the kernel, and looks at the filters that it answers with.
fn talk(request: &[u8], mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let kernel = NetlinkAddr::new(0, 0);
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &kernel)?;
    sendto(std::os::fd::AsRawFd::as_raw_fd(&socket), request, &kernel, MsgFlags::empty())?;
    let mut buffer = vec![0; 65_536];
    loop {
        let received = recv(std::os::fd::AsRawFd::as_raw_fd(&socket), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..received];
        while let Some((kind, body, after)) = message(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let number = i32::from_ne_bytes(*body.first_chunk().ok_or(io::ErrorKind::InvalidData)?);
                    // Without a number it is an acknowledgement.
                    return if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-number)) };
                }
                RTM_NEWTFILTER => visit(body),
                _ => {}
            }
            rest = after;
        }
        if received == 0 {
            return Ok(());
        }
    }
}

/// `struct nlmsghdr`, `struct tcmsg` with interface, handle and parent, and attributes.
fn request(kind: u16, flags: u16, [ifindex, handle, parent]: [u32; 3], attributes: &[u8]) -> Vec<u8> {
    let length = NLMSG_HEADER + TCMSG + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence number and port; family; index; handle; parent; information.
    for word in [1, 0, 0, ifindex, handle, parent, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(attributes);
    bytes
}

/// The first message's type and body, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(NLMSG_HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The filter in an RTM_NEWTFILTER, if it is ours.
fn ours(body: &[u8], hook: Hook) -> Option<Filter> {
    let word = |at: usize| Some(u32::from_ne_bytes(*body.get(at..)?.first_chunk()?));
    let (handle, priority) = (word(8)?, word(16)? >> 16);
    if handle != u32::from(HANDLE) || priority != u32::from(PRIORITY) {
        return None;
    }
    let (name, program) = program(attribute(body.get(TCMSG..)?, TCA_OPTIONS)?)?;
    (name == hook.name()).then_some(Filter { program })
}

/// Name and number of a filter's program, if it is a BPF filter.
fn program(options: &[u8]) -> Option<(String, u32)> {
    let name = attribute(options, TCA_BPF_NAME)?.strip_suffix(&[0])?;
    let program = u32::from_ne_bytes(*attribute(options, TCA_BPF_ID)?.first_chunk()?);
    Some((String::from_utf8_lossy(name).into_owned(), program))
}

/// The value of the first attribute of a kind.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    /// Nested and byte-order flags.
    const FLAGS: u16 = 0xc000;
    loop {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & !FLAGS;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

const fn direction(hook: Hook) -> Option<TcAttachType> {
    match hook {
        Hook::FromContainer | Hook::FromUplink | Hook::FromUplinkL3 | Hook::BehindXdp => Some(TcAttachType::Ingress),
        Hook::ToContainer | Hook::ToUplink => Some(TcAttachType::Egress),
        Hook::FromUplinkXdp => None,
    }
}

fn program_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::TcError(error) => tc_error(error),
        ProgramError::NetlinkError(error) => number(error.raw_os_error(), error),
        ProgramError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}

fn tc_error(error: TcError) -> io::Error {
    match error {
        TcError::NetlinkError(error) => number(error.raw_os_error(), error),
        TcError::IoError(error) => error,
        TcError::AlreadyAttached => io::ErrorKind::AlreadyExists.into(),
        error => io::Error::other(error),
    }
}

fn number(number: Option<i32>, error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    number.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}
