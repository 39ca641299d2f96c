//! Builds the eBPF object with whichever toolchain of the machine can: a nightly that has rust-src, or Debian's
//! rustc with a precompiled core for BPF. `cargo xtask setup` installs the latter.

use std::{
    env, fs,
    hash::{DefaultHasher, Hasher as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};
use aya_build::{Package, Toolchain};

const PACKAGE: &str = "portlane-datapath";

fn main() -> Result<()> {
    let toolchain = if sysroot("nightly").is_some_and(|s| Path::new(&s).join("lib/rustlib/src/rust/library").exists()) {
        Toolchain::Nightly
    } else if sysroot("debian").is_some_and(|s| Path::new(&s).join("lib/rustlib/bpfel-unknown-none").exists()) {
        // Feature gates are opened for aya-ebpf alone by `.cargo/config.toml`.
        Toolchain::Custom("debian")
    } else {
        bail!("no toolchain here can build eBPF programs: run `cargo xtask setup` once, as root");
    };
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../datapath-ebpf");
    println!("cargo:rerun-if-changed={root}");
    println!("cargo:rerun-if-changed=../common");
    let features: &[&str] = if cfg!(feature = "broken") { &["broken"] } else { &[] };
    aya_build::build_ebpf([Package { name: PACKAGE, root_dir: root, features, ..Package::default() }], toolchain)?;
    let object = fs::read(Path::new(&env::var("OUT_DIR")?).join(PACKAGE))?;
    println!("cargo:rustc-env=PORTLANE_OBJECT_HASH={:016x}", hash(&object));
    Ok(())
}

/// Tells builds apart: worked out here, since it would take portlane a millisecond with each command.
fn hash(object: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(object);
    hasher.finish()
}

fn sysroot(toolchain: &str) -> Option<String> {
    let output = Command::new("rustup")
        .args(["run", toolchain, "rustc", "--print", "sysroot"])
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
