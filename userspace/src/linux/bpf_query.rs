//! Which programs run on an interface, whoever put them there: `BPF_PROG_QUERY`.
#![expect(unsafe_code, reason = "bpf(2) takes its arguments as pointers inside a struct")]

use std::io;

use super::bpf_syscall::AttachType;

const PROG_QUERY: i32 = 16;
/// `BPF_MPROG_MAX`: the kernel takes no more on one side of an interface.
const MOST: usize = 64;

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    pad: u32,
    /// Flags of each program, links and their flags, and the revision: not asked for.
    rest: [u64; 4],
}

/// Numbers of the programs on one side of an interface, in the order in which they run.
///
/// # Errors
/// `InvalidInput` from kernels without tcx (before 6.6).
pub fn programs(ifindex: u32, kind: AttachType) -> io::Result<Vec<u32>> {
    let mut programs = [0u32; MOST];
    let mut attr = QueryAttr {
        target: ifindex,
        attach_type: kind as u32,
        programs: programs.as_mut_ptr() as u64,
        count: MOST as u32,
        ..QueryAttr::default()
    };
    // SAFETY: the kernel writes at most `count` numbers to the array, which outlives the call, and nothing else but
    // the struct itself, whose size it is told.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, std::ptr::from_mut(&mut attr), size_of::<QueryAttr>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(programs[..(attr.count as usize).min(MOST)].to_vec())
}
