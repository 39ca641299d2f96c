//! The `bpf(2)` calls that aya keeps to itself: a link's interface, moving a link to another program whatever its
//! type, and reading a whole map in a few calls.
#![expect(unsafe_code, reason = "bpf(2) takes its arguments as pointers inside a struct")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use tokio::io::{Interest, unix::AsyncFd};

const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_DELETE_ELEM: i32 = 3;
const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const MAP_LOOKUP_BATCH: i32 = 24;
const LINK_CREATE: i32 = 28;
const LINK_UPDATE: i32 = 29;
/// `BPF_EXIST`.
const EXIST: u64 = 2;

/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;
/// `BPF_F_MMAPABLE`: the map's memory can be mapped, each value in a multiple of 8 bytes (Linux 5.5).
const MMAPABLE: u32 = 1 << 10;

/// Entries asked for in one call; a hash bucket must fit in it.
const BATCH: usize = 4096;

/// Where a link is to be attached: `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachType {
    /// `BPF_CGROUP_INET4_BIND`.
    Bind4 = 8,
    /// `BPF_CGROUP_INET6_BIND`.
    Bind6 = 9,
    /// `BPF_CGROUP_INET4_CONNECT`.
    Connect4 = 10,
    /// `BPF_CGROUP_INET6_CONNECT`.
    Connect6 = 11,
    /// `BPF_CGROUP_UDP4_SENDMSG`.
    Sendmsg4 = 14,
    /// `BPF_CGROUP_UDP6_SENDMSG`.
    Sendmsg6 = 15,
    /// `BPF_CGROUP_UDP4_RECVMSG`.
    Recvmsg4 = 19,
    /// `BPF_CGROUP_UDP6_RECVMSG`.
    Recvmsg6 = 20,
    /// `BPF_CGROUP_INET4_GETPEERNAME`.
    Getpeername4 = 29,
    /// `BPF_CGROUP_INET6_GETPEERNAME`.
    Getpeername6 = 30,
    /// `BPF_XDP`, in the driver.
    XdpNative = 37,
    /// `BPF_TCX_INGRESS`, Linux 6.6.
    TcxIngress = 46,
    /// `BPF_TCX_EGRESS`, Linux 6.6.
    TcxEgress = 47,
}

impl AttachType {
    /// `XDP_FLAGS_DRV_MODE` for XDP; the other kinds take no flags.
    const fn flags(self) -> u32 {
        match self {
            Self::XdpNative => 1 << 2,
            _ => 0,
        }
    }
}

/// What the kernel says of a link: the head of `struct bpf_link_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Number of the program that it runs.
    pub program: u32,
    /// The interface of a tcx or XDP link; 0 once that is gone.
    pub ifindex: u32,
}

/// What the kernel says of a map: the head of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapInfo {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// The kernel's number of the map.
    pub id: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes, of one CPU.
    pub value_size: u32,
    /// Entries that fit.
    pub max_entries: u32,
    flags: u32,
}

#[repr(C)]
struct ObjAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

#[repr(C)]
struct ElemAttr {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    /// tcx: the link to stand next to, and the expected revision; zero for "last" and "any".
    rest: [u64; 4],
}

#[repr(C)]
struct LinkUpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    /// Of tcx and XDP links; other kinds keep something else here.
    ifindex: u32,
    rest: [u32; 11],
}

/// Opens what is pinned at `path`.
pub fn obj_get(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { bpf(OBJ_GET, &mut attr) }?;
    // SAFETY: the kernel gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins a map, program or link at `path`; `AlreadyExists` if there is something.
pub fn obj_pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjAttr { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    unsafe { bpf(OBJ_PIN, &mut attr) }.map(drop)
}

/// What a program's number is.
pub fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // `struct bpf_prog_info` begins with its type and its number.
    let mut info = [0u32; 2];
    // SAFETY: the kernel writes at most the array's size into it.
    unsafe { info_by_fd(program, &mut info) }?;
    Ok(info[1])
}

/// What the kernel says of a link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = RawLinkInfo::default();
    // SAFETY: the kernel writes at most the struct's size into it; any bits are valid.
    unsafe { info_by_fd(link, &mut info) }?;
    Ok(LinkInfo { program: info.program, ifindex: info.ifindex })
}

/// Attaches a program to an interface; the link lives as long as the descriptor or a pin of it.
pub fn link_interface(program: BorrowedFd<'_>, ifindex: u32, kind: AttachType) -> io::Result<OwnedFd> {
    link_create(program, ifindex, kind)
}

/// Attaches a program to a cgroup.
pub fn link_cgroup(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, kind: AttachType) -> io::Result<OwnedFd> {
    link_create(program, raw(cgroup), kind)
}

fn link_create(program: BorrowedFd<'_>, target: u32, kind: AttachType) -> io::Result<OwnedFd> {
    let mut attr = LinkCreateAttr {
        program: raw(program),
        target,
        attach_type: kind as u32,
        flags: kind.flags(),
        ..LinkCreateAttr::default()
    };
    // SAFETY: the struct holds no pointers.
    let fd = unsafe { bpf(LINK_CREATE, &mut attr) }?;
    // SAFETY: the kernel gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts another program behind a link of any kind, between two packets.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr { link: raw(link), program: raw(program), flags: 0, old_program: 0 };
    // SAFETY: the struct holds no pointers.
    unsafe { bpf(LINK_UPDATE, &mut attr) }.map(drop)
}

/// A map whose sizes are known, so that no call reads or writes beyond a buffer.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: MapInfo,
    value_len: usize,
}

impl Map {
    /// Opens a pinned map. `cpus` is the number of possible CPUs, which a per-CPU map has values for.
    pub fn open(path: &Path, cpus: usize) -> io::Result<Self> {
        let fd = obj_get(path)?;
        let mut info = MapInfo::default();
        // SAFETY: the kernel writes at most the struct's size into it; any bits are valid.
        unsafe { info_by_fd(fd.as_fd(), &mut info) }?;
        let size = info.value_size as usize;
        // BPF_MAP_TYPE_PERCPU_{HASH,ARRAY}, LRU_PERCPU_HASH, PERCPU_CGROUP_STORAGE.
        let value_len = if matches!(info.kind, 5 | 6 | 10 | 21) { size.next_multiple_of(8) * cpus } else { size };
        Ok(Self { fd, info, value_len })
    }

    /// What the kernel says of it.
    pub const fn info(&self) -> MapInfo {
        self.info
    }

    /// Bytes of a value, those of every CPU taken together.
    pub const fn value_len(&self) -> usize {
        self.value_len
    }

    /// Reads a value into `value`; false if there is none. Panics if a length is not the map's.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        assert_eq!(value.len(), self.value_len, "length of the value");
        found(self.elem(MAP_LOOKUP_ELEM, key, value.as_mut_ptr() as u64, 0))
    }

    /// Writes a value. Panics if a length is not the map's.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!(value.len(), self.value_len, "length of the value");
        self.elem(MAP_UPDATE_ELEM, key, value.as_ptr() as u64, 0)
    }

    /// Writes a value where there is one; whether there was. Panics if a length is not the map's.
    pub fn change(&self, key: &[u8], value: &[u8]) -> io::Result<bool> {
        assert_eq!(value.len(), self.value_len, "length of the value");
        found(self.elem(MAP_UPDATE_ELEM, key, value.as_ptr() as u64, EXIST))
    }

    /// Removes an entry; false if there was none. Panics if the key's length is not the map's.
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        found(self.elem(MAP_DELETE_ELEM, key, 0, 0))
    }

    fn elem(&self, command: i32, key: &[u8], value: u64, flags: u64) -> io::Result<()> {
        assert_eq!(key.len(), self.info.key_size as usize, "length of the key");
        let mut attr = ElemAttr { map: raw(self.fd.as_fd()), pad: 0, key: key.as_ptr() as u64, value, flags };
        // SAFETY: key and value outlive the call and are as long as the map's (asserted here and by the callers);
        // the kernel writes to the value alone, and only in a lookup, where it comes from a mutable slice.
        unsafe { bpf(command, &mut attr) }.map(drop)
    }

    /// Calls `visit` with each entry. What changes meanwhile may be seen or not, or twice. Of a per-CPU map, a
    /// value is what all CPUs keep there.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        if self.info.kind == ARRAY && self.info.flags & MMAPABLE != 0 {
            let stride = self.value_len.next_multiple_of(8);
            let bytes = self.snapshot(stride * self.info.max_entries as usize)?;
            for (index, value) in (0u32..).zip(bytes.chunks_exact(stride)) {
                visit(&index.to_ne_bytes(), &value[..self.value_len]);
            }
            return Ok(());
        }
        let (key_size, value_size) = (self.info.key_size as usize, self.value_len);
        let batch = BATCH.min(self.info.max_entries as usize);
        let (mut keys, mut values) = (vec![0u8; batch * key_size], vec![0u8; batch * value_size]);
        // The kernel's bookmark: a bucket's number or a key, so never longer than this.
        let mut bookmark = vec![0u8; key_size.max(8)];
        let mut first = true;
        loop {
            let at = bookmark.as_mut_ptr() as u64;
            let mut attr = BatchAttr {
                in_batch: if first { 0 } else { at },
                out_batch: at,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: batch as u32,
                map: raw(self.fd.as_fd()),
                ..BatchAttr::default()
            };
            // SAFETY: the buffers outlive the call and hold `count` keys and values of the map's sizes.
            let result = unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) };
            let last = match result {
                Ok(_) => false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => return Err(error),
            };
            let count = (attr.count as usize).min(batch);
            for (key, value) in keys.chunks_exact(key_size).zip(values.chunks_exact(value_size)).take(count) {
                visit(key, value);
            }
            if last {
                return Ok(());
            }
            first = false;
        }
    }

    /// The bytes of an array that can be mapped: a hundred times as fast as a batch.
    fn snapshot(&self, len: usize) -> io::Result<Vec<u8>> {
        // SAFETY: a fresh mapping of a length that the kernel checks; read-only, of a descriptor that is open.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, self.fd.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = start.cast::<u64>();
        // SAFETY: the mapping begins a page and holds `len` bytes, a multiple of 8; programs may write meanwhile,
        // hence volatile, and any bits are a number.
        let bytes = (0..len / 8).flat_map(|at| unsafe { words.add(at).read_volatile() }.to_ne_bytes()).collect();
        // SAFETY: the mapping made above, which nothing refers to any more.
        unsafe { libc::munmap(start, len) };
        Ok(bytes)
    }
}

/// Registers a descriptor with the tokio runtime that this is called on.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor belongs to the value returned, which keeps it open and never changes it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

fn found(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// # Safety
/// Any bits must be valid in `T`.
unsafe fn info_by_fd<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = InfoAttr { fd: raw(fd), len: size_of::<T>() as u32, info: std::ptr::from_mut(info) as u64 };
    // SAFETY: the kernel writes at most `len` bytes to `info`, which outlives the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }.map(drop)
}

/// # Safety
/// `T` must be the command's part of `union bpf_attr`, and its pointers valid for what the command does with them.
unsafe fn bpf<T>(command: i32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the size is the struct's own; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
