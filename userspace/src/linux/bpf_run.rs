//! Running a program over one packet, once or many times (`BPF_PROG_TEST_RUN`), with the flag that aya keeps to itself.
#![expect(unsafe_code, reason = "bpf(2) takes its arguments as pointers inside a struct")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Commands of bpf(2).
const PROG_LOAD: i32 = 5;
const PROG_TEST_RUN: i32 = 10;
/// `BPF_PROG_TYPE_SCHED_CLS`.
const TC: u32 = 3;
/// `r0 = TC_ACT_UNSPEC; exit` (`struct bpf_insn`).
const ON: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0x95, 0, 0, 0, 0, 0, 0, 0]];
/// `BPF_F_TEST_SKB_CHECKSUM_COMPLETE` (Linux 6.11).
const CHECKSUM_COMPLETE: u32 = 1 << 2;
/// Bytes: room for the largest packet that the kernel takes.
const ROOM: usize = 4096;

/// What a NIC says of a packet's checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// Nothing (`CHECKSUM_NONE`).
    None,
    /// The sum of all bytes after the Ethernet header (`CHECKSUM_COMPLETE`): it must still be right afterwards.
    Complete,
}

/// What a program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it returned.
    pub returned: u32,
    /// The packet afterwards, and before it what XDP hands to tc.
    pub bytes: Vec<u8>,
    /// What one run took, as the mean of all.
    pub nanoseconds: u32,
}

/// The part of `union bpf_attr` that belongs to the command.
#[repr(C)]
#[derive(Default)]
struct Attr {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    pad: u32,
}

/// The part of `union bpf_attr` that belongs to `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadAttr {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// Runs a tc or XDP program over a packet; `context` is the beginning of its `struct __sk_buff` or `struct xdp_md`. With
/// `repeat` above 1, each run meets what the one before it has made of the packet.
///
/// # Errors
/// The kernel refuses, or finds the NIC's sum wrong afterwards (`EBADMSG`).
pub fn run(program: BorrowedFd<'_>, packet: &[u8], context: &[u8], sum: Sum, repeat: u32) -> io::Result<Run> {
    let mut out = vec![0; ROOM];
    let mut attr = Attr {
        program: program.as_raw_fd().cast_unsigned(),
        size_in: packet.len() as u32,
        size_out: out.len() as u32,
        data_in: packet.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        context_size_in: context.len() as u32,
        context_in: context.as_ptr() as u64,
        flags: if sum == Sum::Complete { CHECKSUM_COMPLETE } else { 0 },
        ..Attr::default()
    };
    // SAFETY: the buffers outlive the call and are as long as the sizes say; the kernel writes to `out` and the struct.
    if unsafe { libc::syscall(libc::SYS_bpf, PROG_TEST_RUN, &raw mut attr, size_of::<Attr>()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    out.truncate(attr.size_out as usize);
    Ok(Run { returned: attr.returned, bytes: out, nanoseconds: attr.duration })
}

/// Loads a tc program that leaves every packet to whatever comes next: what it costs to run any program at all.
///
/// # Errors
/// The kernel refuses.
pub fn load_empty() -> io::Result<OwnedFd> {
    let mut attr = LoadAttr {
        kind: TC,
        count: ON.len() as u32,
        instructions: ON.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: instructions and licence are constants, as long as the struct says or ended by a zero; the kernel only reads.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw mut attr, size_of::<LoadAttr>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
