//! `cargo xtask setup`: what building, testing and showing portlane needs beyond rustup and a C linker (without a
//! linker this program itself could not have been built).
//!
//! Rust's own way to build eBPF is a nightly with `rust-src`. Where there is none, Debian ships a rustc whose core is
//! precompiled for BPF. Both hand LLVM bitcode to bpf-linker, which has to be linked to an LLVM at least as recent.

use std::{path::Path, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

use crate::run::{cargo, cargo_home, done, find, output, tool};

/// Debian's rustc, under this name in rustup; `userspace/build.rs` looks for it.
const TOOLCHAIN: &str = "debian";
/// The release that links what rustc 1.95 and 1.96 emit.
const BPF_LINKER: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";

/// Packages without which no eBPF object can be built where there is no nightly with rust-src.
const COMPILER: [&str; 3] = [
    "rustc-web",               // the compiler whose core the next but one holds
    "cargo-web",               // `rustup run debian cargo`
    "libstd-rust-web-dev-bpf", // core for bpfel-unknown-none
];

/// What bpf-linker is built against; once built, it needs only the library, which apt keeps with it.
const LINKER: &str = "llvm-22-dev";

/// Programs that the tests and the demo start: name, Debian package.
const PROGRAMS: [(&str, &str); 15] = [
    ("ip", "iproute2"),                 // hosts, links and addresses of tests; `lo` of every sandbox
    ("ethtool", "ethtool"),             // interfaces of tests that leave more or less to their hardware
    ("bpftool", "bpftool"),             // dumps of pinned maps, as users do them
    ("iptables-save", "iptables"),      // shows that no rule of ours exists
    ("nft", "nftables"),                // the same, for nft
    ("ping", "iputils-ping"),           // ICMP and ICMPv6 echo
    ("curl", "curl"),                   // a client that everybody knows
    ("dig", "bind9-dnsutils"),          // large answers over UDP, and over TCP instead
    ("iperf3", "iperf3"),               // TCP and UDP as fast as they go
    ("tracepath", "iputils-tracepath"), // who is on the way, and how large packets may be
    ("python3", "python3"),             // the demo's web servers; servers of tests
    ("ps", "procps"),                   // shows that nothing of ours keeps running
    ("man", "man-db"),                  // reads the man pages of the package
    ("script", "bsdutils"),             // a terminal for tests
    ("c++", "g++"),                     // libFuzzer, which `cargo xtask fuzz` builds
];

/// Debian's names of what the tests and the demo start.
pub fn packages() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().map(|(_, package)| *package)
}

/// Installs what is missing. Nothing is remembered: each need is looked at, which takes some milliseconds.
///
/// # Errors
/// One sentence that says what to install or type, where this machine or user cannot install packages.
pub fn run() -> Result<()> {
    ensure!(find("rustup").is_some(), "rustup is missing: install it as https://rustup.rs says, then run this again");
    let compiler = nightly_builds_ebpf() || debian_builds_ebpf();
    let linker = linker_is_recent();

    let mut packages: Vec<&str> = Vec::new();
    if !compiler && !debian_is_installed() {
        packages.extend(COMPILER);
    }
    if !linker && !Path::new(LLVM).join("bin/llvm-config").exists() {
        packages.push(LINKER);
    }
    packages.extend(PROGRAMS.iter().filter(|(name, _)| find(name).is_none()).map(|(_, package)| package));
    if !packages.is_empty() {
        install(&packages)?;
    }

    if !compiler {
        println!("linking rustup's toolchain `{TOOLCHAIN}` to Debian's /usr/bin/rustc");
        done(tool("rustup").args(["toolchain", "link", TOOLCHAIN, "/usr"]))?;
        ensure!(debian_builds_ebpf(), "{}", "Debian's rustc is installed but has no core for bpfel-unknown-none");
    }
    if !linker {
        build_linker()?;
    }
    Ok(())
}

fn nightly_builds_ebpf() -> bool {
    sysroot("nightly").is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library").exists())
}

fn debian_builds_ebpf() -> bool {
    sysroot(TOOLCHAIN).is_some_and(|root| Path::new(&root).join("lib/rustlib/bpfel-unknown-none").exists())
}

fn debian_is_installed() -> bool {
    ["bin/rustc", "bin/cargo", "lib/rustlib/bpfel-unknown-none"]
        .iter()
        .all(|path| Path::new("/usr").join(path).exists())
}

/// Asked of rustup as `userspace/build.rs` asks it, so that both always agree.
fn sysroot(toolchain: &str) -> Option<String> {
    output(tool("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]).stderr(Stdio::null()))
}

/// Whether a bpf-linker starts (its LLVM library is there) and is no older than ours.
fn linker_is_recent() -> bool {
    let version = output(tool("bpf-linker").arg("--version").stderr(Stdio::null()));
    version.as_deref().and_then(release).is_some_and(|found| Some(found) >= release(BPF_LINKER))
}

/// Major and minor number of a version at the end of a line: `bpf-linker 0.13.0` is (0, 13).
fn release(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().last()?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    ensure!(
        find("apt-get").is_some(),
        "this machine has no apt-get: install what Debian calls `{list}` (or, for eBPF, a Rust nightly with rust-src \
         and bpf-linker {BPF_LINKER}), then run this again"
    );
    ensure!(
        Uid::effective().is_root(),
        "packages are missing: type `sudo apt-get install {list}`, then run this again"
    );

    println!("installing from Debian: {list}");
    done(apt().arg("update")).context("apt's package lists cannot be read")?;
    let absent: Vec<&str> = packages.iter().copied().filter(|package| !available(package)).collect();
    if !absent.is_empty() {
        bail!(
            "apt does not know {}: on Debian 12 add `deb http://deb.debian.org/debian-security bookworm-security main` \
             (and bookworm, bookworm-updates) to /etc/apt/sources.list, then run this again",
            absent.join(", ")
        );
    }
    done(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// apt-get that never asks, and waits for another apt to finish.
fn apt() -> std::process::Command {
    let mut command = tool("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

fn available(package: &str) -> bool {
    let policy = output(tool("apt-cache").args(["policy", package]).env("LC_ALL", "C").stderr(Stdio::null()));
    policy.is_some_and(|policy| has_candidate(&policy))
}

/// Whether `apt-cache policy` names a version that could be installed. Of an unknown package it prints nothing.
fn has_candidate(policy: &str) -> bool {
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    candidate.is_some_and(|version| version != "(none)")
}

fn build_linker() -> Result<()> {
    ensure!(
        Path::new(LLVM).join("bin/llvm-config").exists(),
        "bpf-linker {BPF_LINKER} is missing and {LLVM} is not there to build it: install bpf-linker by hand"
    );
    println!("building bpf-linker {BPF_LINKER} (about a minute)");
    let mut install = cargo();
    install
        .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(cargo_home())
        .env("LLVM_PREFIX", LLVM)
        // Those are this workspace's: its feature gates and its target folder.
        .current_dir("/")
        .env_remove("RUSTC_BOOTSTRAP")
        .env_remove("CARGO_TARGET_DIR");
    done(&mut install)?;
    ensure!(linker_is_recent(), "bpf-linker was built but does not start: see `bpf-linker --version`");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{has_candidate, release};

    #[test]
    fn versions_are_read_from_what_the_linker_prints() {
        assert_eq!(release("bpf-linker 0.13.0"), Some((0, 13)));
        assert_eq!(release("0.9.15"), Some((0, 9)));
        assert_eq!(release("bpf-linker"), None);
        assert_eq!(release(""), None);
    }

    #[test]
    fn a_package_without_candidate_is_not_available() {
        assert!(has_candidate("curl:\n  Installed: (none)\n  Candidate: 7.88.1-10\n"));
        assert!(!has_candidate("curl:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }
}
