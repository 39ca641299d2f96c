//! Debian's packages: QEMU and what makes disks, installed; kernels, fetched and unpacked without being installed.
//!
//! apt reads package lists of our own for that, beside the machine's, which stay as they are: a machine with Debian 12 is
//! not asked to become Debian 13 because a kernel of that is wanted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};

use crate::run::{done, find, output, tool};

/// Where kernels come from, and the oldest of them first.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];
/// Debian's own mirror network, where the machine's sources name none.
const MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How long package lists are good: kernels change weekly, and numbered packages leave the mirrors.
const FRESH: Duration = Duration::from_secs(20 * 60 * 60);

/// Programs that make disks and initramfs: name, Debian package.
const TOOLS: [(&str, &str); 8] = [
    ("busybox", "busybox-static"), // all that an initramfs has
    ("cpio", "cpio"),              // puts it together
    ("depmod", "kmod"),            // which module needs which
    ("mke2fs", "e2fsprogs"),       // disks
    ("xz", "xz-utils"),            // newer kernels' modules
    ("strip", "binutils"),         // test programs without what only debuggers read
    ("setsid", "util-linux"),      // a shell with a terminal
    ("strace", "strace"),          // for the shell
];
/// The emulator, with which others its version has to agree, and the oldest whose `-cpu max` boots every time: 7.2 does
/// not.
const QEMU: &str = "qemu-system-x86_64";
const QEMU_PACKAGES: [&str; 4] = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
const QEMU_OLDEST: u32 = 9;

/// Installs what is missing.
///
/// # Errors
/// apt cannot, or has no QEMU that is new enough.
pub fn install_tools(cache: &Path) -> Result<()> {
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(name, _)| find(name).is_none()).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        println!("installing from Debian: {}", missing.join(" "));
        done(apt("apt-get", None).arg("update"))?;
        done(apt("apt-get", None).args(["install", "-y", "--no-install-recommends"]).args(missing))?;
    }
    if qemu_version().is_some_and(|version| version >= QEMU_OLDEST) {
        return Ok(());
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    // Debian 12's own is too old; from 13 on the plain package will do.
    let backports = (release == "bookworm").then(|| format!("{release}-backports"));
    let lists = backports.as_deref().map(|suite| Lists::beside_the_machines(cache, suite)).transpose()?;
    let packages: Vec<String> = match &backports {
        Some(suite) => QEMU_PACKAGES.iter().map(|package| format!("{package}/{suite}")).collect(),
        None => vec![QEMU_PACKAGES[0].to_owned()],
    };
    println!("installing from Debian: {}", packages.join(" "));
    done(apt("apt-get", lists.as_ref()).arg("update"))?;
    done(apt("apt-get", lists.as_ref()).args(["install", "-y", "--no-install-recommends"]).args(packages))?;
    let installed = qemu_version().context("QEMU was installed but does not start")?;
    ensure!(installed >= QEMU_OLDEST, "QEMU {installed} is too old: install {QEMU_OLDEST} or later");
    Ok(())
}

/// Major version.
fn qemu_version() -> Option<u32> {
    let printed = output(tool(QEMU).arg("--version").stderr(Stdio::null()))?;
    major(&printed)
}

fn major(printed: &str) -> Option<u32> {
    printed.split("version ").nth(1)?.split('.').next()?.parse().ok()
}

/// Package lists of our own.
#[derive(Debug)]
pub struct Lists {
    folder: PathBuf,
}

impl Lists {
    /// Of all suites that kernels come from; as fresh as a day.
    ///
    /// # Errors
    /// They cannot be read, and there are none from earlier.
    pub fn of_kernels(cache: &Path) -> Result<Self> {
        let lists = Self::new(cache, "apt-kernels", &SUITES)?;
        let stamp = lists.folder.join("fresh");
        let age =
            fs::metadata(&stamp).and_then(|stamp| stamp.modified()).map(|then| SystemTime::now().duration_since(then));
        if age.is_ok_and(|age| age.is_ok_and(|age| age < FRESH)) {
            return Ok(lists);
        }
        println!("reading Debian's package lists: {}", SUITES.join(" "));
        match done(apt("apt-get", Some(&lists)).arg("update")) {
            Ok(()) => fs::write(&stamp, "").context("cannot write to the cache")?,
            // An archived suite, or no network: what was read before may do.
            Err(error) => println!("{error:#}; going on with what is known"),
        }
        Ok(lists)
    }

    /// Of one more suite of the machine's release.
    fn beside_the_machines(cache: &Path, suite: &str) -> Result<Self> {
        let lists = Self::new(cache, "apt-backports", &[suite])?;
        for own in fs::read_dir("/etc/apt/sources.list.d").context("cannot read the machine's sources")?.flatten() {
            fs::copy(own.path(), lists.folder.join("sources.d").join(own.file_name()))?;
        }
        if let Ok(own) = fs::read("/etc/apt/sources.list") {
            fs::write(lists.folder.join("sources.d/machine.list"), own)?;
        }
        Ok(lists)
    }

    fn new(cache: &Path, name: &str, suites: &[&str]) -> Result<Self> {
        let folder = cache.join(name);
        for part in ["lists/partial", "cache/archives/partial", "sources.d"] {
            fs::create_dir_all(folder.join(part)).context("cannot write to the cache")?;
        }
        ensure!(Path::new(KEYRING).exists(), "{KEYRING} is missing: install debian-archive-keyring");
        let mirror = mirror();
        let sources: String =
            suites.iter().map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n")).collect();
        fs::write(folder.join("sources.list"), sources)?;
        let at = folder.display();
        let settings = format!(
            "Dir::State::lists \"{at}/lists\";\nDir::Cache \"{at}/cache\";\n\
             Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"{at}/sources.d\";\n\
             Acquire::Languages \"none\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";\nAPT::Sandbox::User \"root\";\n"
        );
        fs::write(folder.join("apt.conf"), settings)?;
        Ok(Self { folder })
    }

    /// Packages whose names match a regular expression.
    ///
    /// # Errors
    /// apt-cache fails.
    pub fn names(&self, expression: &str) -> Result<Vec<String>> {
        let found = output(apt("apt-cache", Some(self)).args(["search", "--names-only", expression]));
        let found = found.context("`apt-cache search` fails")?;
        Ok(found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Fetches packages and unpacks them, one over the other, in a folder.
    ///
    /// # Errors
    /// They are not to be had.
    pub fn unpack(&self, packages: &[String], folder: &Path) -> Result<()> {
        let debs = folder.join("packages");
        fs::create_dir_all(&debs).context("cannot write to the cache")?;
        done(apt("apt-get", Some(self)).arg("download").args(packages).current_dir(&debs))?;
        for package in fs::read_dir(&debs)?.flatten() {
            done(tool("dpkg").arg("-x").arg(package.path()).arg(folder))?;
        }
        fs::remove_dir_all(&debs).context("cannot tidy up the cache")
    }
}

/// The mirror that the machine uses.
fn mirror() -> String {
    let asked = output(tool("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]).args([
        "Origin: Debian",
        "Label: Debian",
        "Created-By: Packages",
    ]));
    let first = asked.unwrap_or_default().lines().next().map(|line| line.trim_end_matches('/').to_owned());
    first.unwrap_or_else(|| MIRROR.to_owned())
}

/// apt that never asks, with the machine's lists or ours.
fn apt(program: &str, lists: Option<&Lists>) -> Command {
    let mut command = tool(program);
    command.args(["-q", "-q"]).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
    if let Some(lists) = lists {
        command.env("APT_CONFIG", lists.folder.join("apt.conf"));
    }
    command
}

/// Installed packages that these need, themselves included, as `name:architecture`.
///
/// # Errors
/// apt-cache or dpkg fails.
pub fn closure(packages: &[&str]) -> Result<Vec<String>> {
    let skipped =
        ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"].map(|kind| format!("--no-{kind}"));
    let mut depends = tool("apt-cache");
    depends.args(["depends", "--recurse", "--installed"]).args(skipped).args(packages);
    let printed = output(&mut depends).context("`apt-cache depends` fails")?;
    let names = printed.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()));
    let mut query = tool("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status} ${binary:Package} ${Version}\n"]).args(names).stderr(Stdio::null());
    // Names of packages that are not there make it fail, and it lists the others all the same.
    let listed = query.output().context("cannot start dpkg-query")?.stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let mut found: Vec<String> =
        listed.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    for package in packages {
        let is = |line: &String| line.split([' ', ':']).next() == Some(*package);
        if !found.iter().any(is) {
            bail!("the package {package} is not installed");
        }
    }
    Ok(found)
}

/// Every file of packages.
///
/// # Errors
/// dpkg fails.
pub fn files(packages: &[String]) -> Result<Vec<PathBuf>> {
    let names = packages.iter().filter_map(|line| line.split(' ').next());
    let listed = output(tool("dpkg").arg("-L").args(names).stderr(Stdio::null())).context("`dpkg -L` fails")?;
    Ok(listed.lines().filter(|line| line.starts_with('/')).map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn qemus_version_is_read() {
        assert_eq!(major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright"), Some(10));
        assert_eq!(major("nothing"), None);
    }
}
