//! Disks of machines: ext4 file systems, made from folders without mounting anything.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::debian;
use crate::{
    run::{done, output, tool},
    setup,
};

/// What a user land begins with; beside it, the programs that the tests start.
const BASE: [&str; 18] = [
    "base-files",
    "bash",
    "busybox-static",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "hostname",
    "kmod",
    "libc-bin",
    "mawk",
    "mount",
    "netbase",
    "procps",
    "sed",
    "strace",
    "tar",
    "util-linux",
];
/// Of what `cargo xtask setup` installs, not needed in a machine.
const LEFT_OUT: [&str; 2] = ["g++", "man-db"];
/// Folders whose files nobody reads in a machine.
const UNREAD: [&str; 6] = ["doc", "man", "locale", "info", "i18n", "zoneinfo"];
/// What is in no package.
const CONFIGURATION: [&str; 3] = ["etc/passwd", "etc/group", "etc/nsswitch.conf"];
/// Mount points, and folders that packages do not bring.
const FOLDERS: [&str; 10] =
    ["dev", "portlane", "proc", "root", "run", "sys", "tmp", "usr/lib/modules", "var/tmp", "sys/fs/bpf"];
/// Where a merged `/usr` has its folders.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// Choices between packages of one purpose: `/usr/sbin/iptables` is one.
const ALTERNATIVES: &str = "/etc/alternatives";

/// A disk with what the tests need of Debian: the files of the packages installed here.
///
/// # Errors
/// A package is not installed, or the disk cannot be made.
pub fn user_land(cache: &Path) -> Result<PathBuf> {
    let tools = setup::packages().filter(|package| !LEFT_OUT.contains(package));
    let wanted: Vec<&str> = BASE.into_iter().chain(tools).collect();
    let packages = debian::closure(&wanted)?;
    let disk = cache.join(format!("user-land-{:08x}.ext4", hash(packages.join("\n").as_bytes())));
    if disk.exists() {
        return Ok(disk);
    }
    println!("making a disk of {} packages", packages.len());
    // Earlier ones' packages have other versions.
    for old in fs::read_dir(cache)?.flatten().filter(|old| old.file_name().to_string_lossy().starts_with("user-land")) {
        let path = old.path();
        drop(if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) });
    }
    let root = cache.join("user-land.new");
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    let mut copy = Copy { root: root.clone(), folders: BTreeMap::new() };
    for file in debian::files(&packages)?.iter().filter(|file| is_read(file)) {
        copy.file(file)?;
    }
    for folder in ["usr/bin", "usr/sbin", "etc/alternatives"] {
        for link in fs::read_dir(Path::new("/").join(folder))?.flatten().map(|entry| entry.path()) {
            let target = fs::read_link(&link).unwrap_or_default();
            if link.starts_with(ALTERNATIVES) || target.starts_with(ALTERNATIVES) {
                copy.file(&link)?;
            }
        }
    }
    for file in CONFIGURATION {
        copy.file(&Path::new("/").join(file))?;
    }
    for folder in MERGED.iter().filter(|folder| !root.join(folder).exists()) {
        symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    done(tool("ldconfig").arg("-r").arg(&root))?;
    let beside = disk.with_extension("new");
    make(&root, &beside)?;
    fs::remove_dir_all(&root)?;
    fs::rename(&beside, &disk)?;
    Ok(disk)
}

fn is_read(file: &Path) -> bool {
    !UNREAD.iter().any(|folder| file.starts_with(Path::new("/usr/share").join(folder)))
}

/// Copies files of this machine to the same places below a folder.
#[derive(Debug)]
struct Copy {
    root: PathBuf,
    /// Folders as packages name them, and where they really are: `/bin` in `/usr/bin`.
    folders: BTreeMap<PathBuf, PathBuf>,
}

impl Copy {
    fn file(&mut self, file: &Path) -> Result<()> {
        // A package may list what its script has removed since.
        let Ok(found) = fs::symlink_metadata(file) else { return Ok(()) };
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { return Ok(()) };
        if !self.folders.contains_key(folder) {
            let real = fs::canonicalize(folder).with_context(|| format!("cannot find {}", folder.display()))?;
            let real = self.root.join(real.strip_prefix("/")?);
            fs::create_dir_all(&real)?;
            self.folders.insert(folder.to_owned(), real);
        }
        let to = self.folders[folder].join(name);
        if fs::symlink_metadata(&to).is_ok() {
            return Ok(());
        }
        if found.is_symlink() {
            symlink(fs::read_link(file)?, to)?;
        } else if found.is_file() {
            fs::copy(file, &to).with_context(|| format!("cannot copy {}", file.display()))?;
        }
        Ok(())
    }
}

/// Makes a disk with what a folder holds.
///
/// # Errors
/// There is no room, or mke2fs fails.
pub fn make(folder: &Path, disk: &Path) -> Result<()> {
    let used = output(tool("du").args(["-sm", "--apparent-size"]).arg(folder)).context("`du` fails")?;
    let used: u64 = used.split_whitespace().next().and_then(|size| size.parse().ok()).context("`du` tells no size")?;
    let file = fs::File::create(disk).with_context(|| format!("cannot create {}", disk.display()))?;
    file.set_len((used * 5 / 4 + 32) << 20)?;
    let mut command = tool("mke2fs");
    command.args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-N", "40000", "-d"]).args([folder, disk]);
    done(&mut command)?;
    ensure!(disk.exists(), "mke2fs made no disk");
    Ok(())
}

/// FNV-1a: tells one content from another.
pub fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
