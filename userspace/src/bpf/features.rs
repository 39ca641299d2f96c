//! What the running kernel has, asked of the kernel itself where it can be asked; and what on the host gets in the way.

use std::{fs, io, path::Path};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

use super::{
    attach::mounted_cgroup,
    error::BpfError,
    pins::Pins,
    probe::{Missing, kernel},
};
use crate::linux::{Fallback, bpf_query, bpf_syscall::AttachType, can_end_sockets, netns::host_cookie};

/// Something that a kernel has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// A stable name.
    pub name: &'static str,
    /// Whether it is there; none if that cannot be told.
    pub present: Option<bool>,
    /// What portlane does with it, and without.
    pub purpose: &'static str,
}

/// Something on the host that gets in the way of some packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is so, and what follows.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Helpers of the programs, in the kind of program that calls them, and the kernel that they came with: portlane cannot
/// do without.
const HELPERS: [(&str, ProgramType, BpfHelper, &str); 7] = [
    ("bpf_loop", ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_loop, "5.17"),
    ("bpf_redirect_neigh", ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_redirect_neigh, "5.10"),
    ("bpf_redirect_peer", ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_redirect_peer, "5.10"),
    ("bpf_timer_start", ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_timer_start, "5.15"),
    ("bpf_fib_lookup", ProgramType::Xdp, BpfHelper::BPF_FUNC_fib_lookup, "4.18"),
    ("bpf_xdp_adjust_meta", ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_adjust_meta, "4.15"),
    ("bpf_set_retval", ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval, "5.18"),
];
/// Neither without this socket option.
const NETNS_COOKIE: (&str, &str) = ("SO_NETNS_COOKIE", "5.14");

/// Loopback, which every network namespace has.
const LOOPBACK: u32 = 1;

/// Asks the kernel; changes nothing. Without privileges some cannot be told.
pub fn features(bpffs: &Path) -> Vec<Feature> {
    let there = |path: &str| Some(Path::new(path).exists());
    let feature = |name, present, purpose| Feature { name, present, purpose };
    let mut features = vec![
        feature("btf", there("/sys/kernel/btf/vmlinux"), "bpftool shows maps with names"),
        feature("bpffs", Some(Pins::new(bpffs).on_bpffs()), "programs and maps outlive a command"),
        feature("cgroup2", Some(mounted_cgroup().is_some()), "host processes use published ports"),
        feature("jit", jit(), "programs run as machine code"),
        feature(Fallback::Tcx.name(), tcx(), "programs are links; without it, clsact filters"),
        feature(
            Fallback::ForceForwarding.name(),
            Some(force_forwarding()),
            "IPv6 packets that are too large are answered; without it, that takes the forwarding setting",
        ),
        feature(
            Fallback::InetDiagDestroy.name(),
            Some(can_end_sockets()),
            "host processes are told when their container is gone; without it, they wait",
        ),
    ];
    let helper =
        |(name, kind, helper, _)| feature(name, is_helper_supported(kind, helper).ok(), "a helper of the programs");
    features.extend(HELPERS.map(helper));
    features
}

/// What portlane cannot do without and this kernel lacks, with the kernels that it came with.
fn required() -> Vec<String> {
    let helpers =
        HELPERS.into_iter().filter(|(_, kind, helper, _)| is_helper_supported(*kind, *helper).is_ok_and(|is| !is));
    let mut absent: Vec<String> = helpers.map(|(name, .., since)| format!("{name} (Linux {since})")).collect();
    if host_cookie().is_err() {
        absent.push(format!("{} (Linux {})", NETNS_COOKIE.0, NETNS_COOKIE.1));
    }
    absent
}

/// Why a kernel that is too old cannot have the programs; none if it is not.
pub fn lacking() -> Option<BpfError> {
    let absent = required();
    (!absent.is_empty()).then(|| BpfError::TooOld { kernel: kernel(), features: absent.join(", ") })
}

/// The same for `portlane status`.
pub(super) fn too_old() -> Option<Missing> {
    let absent = required();
    let remedy = "portlane needs Linux 5.18 or later".to_owned();
    (!absent.is_empty()).then(|| Missing { feature: absent.join(", "), remedy, optional: false })
}

/// What gets in the way. Rules of nft and iptables do not for unicast: those packets never meet them.
pub fn notes() -> Vec<Note> {
    let on = |path: &str| fs::read_to_string(path).is_ok_and(|value| value.trim() == "1");
    let mut notes = Vec::new();
    for (name, rules) in [("bridge-nf-call-iptables", "iptables"), ("bridge-nf-call-ip6tables", "ip6tables")] {
        if on(&format!("/proc/sys/net/bridge/{name}")) {
            notes.push(Note {
                what: format!(
                    "br_netfilter has multicast and broadcast between containers pass the host's {rules} rules"
                ),
                remedy: format!("sysctl -w net.bridge.{name}=0"),
            });
        }
    }
    notes
}

fn jit() -> Option<bool> {
    fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok().map(|on| on.trim() != "0")
}

/// Whether programs can be attached as tcx links.
pub(super) fn tcx() -> Option<bool> {
    match Fallback::Tcx.allowed().and_then(|()| bpf_query::programs(LOOPBACK, AttachType::TcxIngress)) {
        Ok(_) => Some(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Some(false),
        Err(_) => None,
    }
}

/// Whether one interface can be made to forward IPv6.
pub(super) fn force_forwarding() -> bool {
    let setting = Path::new("/proc/sys/net/ipv6/conf/all").join(Fallback::ForceForwarding.name());
    Fallback::ForceForwarding.allowed().is_ok() && setting.exists()
}
