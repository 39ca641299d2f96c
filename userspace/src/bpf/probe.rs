//! What the running kernel lacks, for `portlane status`.

use std::{fmt, fs, io, path::Path};

use nix::sys::utsname::uname;

use super::{
    attach::mounted_cgroup,
    features::{force_forwarding, tcx, too_old},
    pins::Pins,
};
use crate::linux::bpf_syscall;

/// Something that the kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What, and what for.
    pub feature: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether portlane works without it, though not as well.
    pub optional: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.feature, self.remedy)
    }
}

/// Looks for what portlane needs; changes nothing.
pub fn probe(bpffs: &Path) -> Vec<Missing> {
    let mut missing = Vec::new();
    missing.extend(too_old());
    let mut lacks = |feature: &str, remedy: &str, optional| {
        missing.push(Missing { feature: feature.to_owned(), remedy: remedy.to_owned(), optional });
    };
    match bpf_syscall::obj_get(Path::new("/")).map_err(|error| error.kind()) {
        Err(io::ErrorKind::Unsupported) => lacks("eBPF", "boot a kernel with CONFIG_BPF_SYSCALL=y", false),
        Err(io::ErrorKind::PermissionDenied) if !nix::unistd::geteuid().is_root() => {
            lacks("permission to use eBPF", "run portlane as root (CAP_BPF and CAP_NET_ADMIN)", false);
        }
        _ => {}
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        lacks("BTF, so bpftool shows maps as bytes", "boot a kernel with CONFIG_DEBUG_INFO_BTF=y", true);
    }
    if !Pins::new(bpffs).on_bpffs() {
        lacks("a BPF file system", "run `mount -t bpf bpf /sys/fs/bpf`, or say where one is with --bpffs", false);
    }
    if mounted_cgroup().is_none() {
        let remedy = "run `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`";
        lacks("a mounted cgroup2 file system, for host processes that use published ports", remedy, false);
    }
    let clsact = tcx() == Some(false);
    if clsact && has_module("cls_bpf") == Some(false) {
        lacks("tc programs", "boot a kernel with CONFIG_NET_CLS_BPF, or Linux 6.6 or later", false);
    }
    if clsact && has_module("sch_ingress") == Some(false) {
        lacks("the clsact qdisc", "boot a kernel with CONFIG_NET_SCH_INGRESS, or Linux 6.6 or later", false);
    }
    let ipv6 = Path::new("/proc/sys/net/ipv6/conf/all");
    let forwards = fs::read_to_string(ipv6.join("forwarding")).is_ok_and(|on| on.trim() == "1");
    if ipv6.exists() && !forwards && !force_forwarding() {
        let remedy = "run `sysctl -w net.ipv6.conf.all.forwarding=1` (Linux 6.17 needs none of it)";
        lacks("answers to IPv6 packets that are too large or have no hop left", remedy, true);
    }
    if fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").is_ok_and(|on| on.trim() == "0") {
        lacks("compiled eBPF: the kernel interprets it", "run `sysctl -w net.core.bpf_jit_enable=1`", true);
    }
    missing
}

/// The running kernel's release, as `uname -r` prints it.
pub fn kernel() -> String {
    uname().map_or_else(|_| "unknown".to_owned(), |name| name.release().to_string_lossy().into_owned())
}

/// Whether the kernel has a module, built in or beside it; `None` if that cannot be told.
fn has_module(name: &str) -> Option<bool> {
    if Path::new("/sys/module").join(name).exists() {
        return Some(true);
    }
    let release = uname().ok()?.release().to_string_lossy().into_owned();
    let folder = Path::new("/lib/modules").join(release);
    let list = |file| fs::read_to_string(folder.join(file)).ok();
    let (built_in, beside) = (list("modules.builtin")?, list("modules.dep")?);
    Some([built_in, beside].iter().any(|list| list.contains(&format!("/{name}.ko"))))
}
