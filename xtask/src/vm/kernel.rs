//! Kernels: Debian's cloud kernels, chosen by version when they are asked for, unpacked once.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{debian::Lists, disk};
use crate::run::{done, output, tool};

/// Whichever is the newest.
pub const NEWEST: &str = "newest";
/// Below this, portlane is to refuse: `bpf_loop` came with 5.17, `bpf_set_retval` with 5.18.
const OLDEST: (u32, u32) = (5, 18);
/// What reaches the disks; the modules' own dependencies come along.
const BOOT_MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "overlay"];

/// A kernel that machines can boot.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// As it was asked for.
    pub name: String,
    /// As `uname -r` prints it.
    pub release: String,
    folder: PathBuf,
}

impl Kernel {
    /// Whether portlane is to work with it; otherwise it is to say why not.
    pub fn is_supported(&self) -> bool {
        let numbers = numbers(&self.release);
        (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(0)) >= OLDEST
    }

    /// What QEMU loads.
    pub fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Mounts the disks and hands over to the guest's process 1.
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs")
    }

    /// A disk with the folder that belongs to /lib/modules.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("modules.ext4")
    }

    /// Whether all of it is there.
    fn is_complete(&self) -> bool {
        [self.image(), self.initramfs(), self.modules()].iter().all(|file| file.exists())
    }
}

/// Finds kernels of these names among Debian's, and fetches what is not there yet.
///
/// # Errors
/// There is none of that version, or it cannot be fetched.
pub fn prepare(cache: &Path, names: &[&str]) -> Result<Vec<Kernel>> {
    let lists = Lists::of_kernels(cache)?;
    let images = lists.names("^linux-image-[0-9].*-cloud-amd64$")?;
    let releases: Vec<&str> = images.iter().filter_map(|package| package.strip_prefix("linux-image-")).collect();
    let find = |name: &&str| {
        let found = choose(name, &releases);
        let release = found.with_context(|| format!("Debian has no cloud kernel {name} any more, or not yet"))?;
        // The recipe of the initramfs is part of the name: another one makes another folder.
        let recipe = disk::hash(INIT.as_bytes());
        let folder = cache.join("kernels").join(format!("{release}-{recipe:08x}"));
        Ok(Kernel { name: (*name).to_owned(), release: release.to_owned(), folder })
    };
    let kernels = names.iter().map(find).collect::<Result<Vec<_>>>()?;
    for kernel in kernels.iter().filter(|kernel| !kernel.is_complete()) {
        println!("fetching Linux {}", kernel.release);
        fetch(&lists, kernel).with_context(|| format!("Linux {}", kernel.release))?;
    }
    Ok(kernels)
}

/// The latest release of a version (`6.1` of `6.1.0-50-cloud-amd64`), or of all.
fn choose<'a>(name: &str, releases: &[&'a str]) -> Option<&'a str> {
    let wanted = numbers(name);
    let fits = |release: &&&str| name == NEWEST || numbers(release).starts_with(&wanted);
    releases.iter().filter(fits).max_by(|a, b| compare(a, b)).copied()
}

fn compare(a: &str, b: &str) -> Ordering {
    numbers(a).cmp(&numbers(b))
}

/// The numbers of a release, up to its flavour.
fn numbers(release: &str) -> Vec<u32> {
    let version = release.split("-cloud").next().unwrap_or_default();
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Everything is made in a folder beside its own, which then takes its place: an interrupted one is begun anew.
fn fetch(lists: &Lists, kernel: &Kernel) -> Result<()> {
    let beside = kernel.folder.with_file_name(format!("{}.new", kernel.release));
    drop(fs::remove_dir_all(&beside));
    let (root, made) = (beside.join("root"), beside.join("made"));
    fs::create_dir_all(&made).context("cannot write to the cache")?;
    // Since 6.19 the image and the modules are packages of their own.
    let packages =
        lists.names(&format!("^linux-(image|binary|modules|base)-{}$", kernel.release.replace('+', "\\+")))?;
    lists.unpack(&packages, &root)?;

    let old = root.join("lib/modules").join(&kernel.release);
    let modules = if old.exists() { root.join("lib/modules") } else { root.join("usr/lib/modules") };
    let image = [root.join("boot"), modules.join(&kernel.release)].iter().find_map(|folder| vmlinuz(folder));
    fs::copy(image.context("there is no vmlinuz in the packages")?, made.join("vmlinuz"))?;
    // depmod and modprobe look below lib/modules.
    let base = beside.join("base");
    fs::create_dir_all(base.join("lib"))?;
    fs::rename(&modules, base.join("lib/modules"))?;
    done(tool("depmod").arg("-b").arg(&base).arg(&kernel.release))?;
    disk::make(&base.join("lib/modules"), &made.join("modules.ext4"))?;
    initramfs(&base, &kernel.release, &made.join("initramfs"))?;

    drop(fs::remove_dir_all(&kernel.folder));
    fs::rename(&made, &kernel.folder)?;
    fs::remove_dir_all(&beside).context("cannot tidy up the cache")
}

fn vmlinuz(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.flatten().map(|file| file.path());
    files.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
}

/// The first program: loads the modules that reach the disks, mounts those, and hands over.
const INIT: &str = include_str!("init.sh");

fn initramfs(base: &Path, release: &str, archive: &Path) -> Result<()> {
    let root = base.with_file_name("initramfs-root");
    for folder in ["bin", "modules", "proc", "sys", "dev", "lower", "upper", "new"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let busybox = crate::run::find("busybox").context("busybox is not installed")?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    let mut order = String::new();
    for module in BOOT_MODULES {
        let needed = tool("modprobe").arg("-d").arg(base).args(["-S", release, "--show-depends", module]).output()?;
        // What is built in is not listed, or not known.
        for line in String::from_utf8_lossy(&needed.stdout).lines() {
            let Some(path) = line.trim().strip_prefix("insmod ").map(|path| Path::new(path.trim())) else { continue };
            let name = path.file_name().context("a module without a name")?.to_string_lossy();
            let name = name.trim_end_matches(".xz").to_owned();
            if order.lines().any(|known| known == name) {
                continue;
            }
            let bytes = match path.extension().is_some_and(|extension| extension == "xz") {
                true => tool("xz").arg("-dc").arg(path).output()?.stdout,
                false => fs::read(path)?,
            };
            ensure!(!bytes.is_empty(), "{} is empty", path.display());
            fs::write(root.join("modules").join(&name), bytes)?;
            order += &format!("{name}\n");
        }
    }
    fs::write(root.join("modules/order"), order)?;
    fs::write(root.join("init"), INIT)?;
    done(tool("chmod").arg("755").arg(root.join("init")))?;
    let pack = format!("find . | cpio -o -H newc --quiet > '{}'", archive.display());
    ensure!(output(tool("sh").args(["-c", &pack]).current_dir(&root)).is_some(), "cpio cannot pack the initramfs");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASES: [&str; 5] = [
        "6.1.0-9-cloud-amd64",
        "6.1.0-50-cloud-amd64",
        "6.12.107+deb13-cloud-amd64",
        "6.18.9+deb13-cloud-amd64",
        "7.2.13+deb14-cloud-amd64",
    ];

    #[test]
    fn the_latest_release_of_a_version_is_chosen() {
        assert_eq!(choose("6.1", &RELEASES), Some(RELEASES[1]));
        assert_eq!(choose("6.12", &RELEASES), Some(RELEASES[2]));
        assert_eq!(choose("6.18", &RELEASES), Some(RELEASES[3]));
        assert_eq!(choose(NEWEST, &RELEASES), Some(RELEASES[4]));
        assert_eq!(choose("6.2", &RELEASES), None);
    }

    #[test]
    fn what_is_older_than_the_programs_helpers_is_not_supported() {
        let kernel =
            |release: &str| Kernel { name: String::new(), release: release.to_owned(), folder: PathBuf::new() };
        assert!(kernel(RELEASES[0]).is_supported() && kernel(RELEASES[4]).is_supported());
        assert!(!kernel("5.10.0-32-cloud-amd64").is_supported());
    }
}
