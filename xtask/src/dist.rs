//! `cargo xtask dist`: man pages, completions, systemd units, and a Debian package with all of it, in `target/dist`.
//!
//! The package is made by dpkg-deb, which every Debian has. Its units are installed and not enabled.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    run::{built, cargo, done, find, output, step, tool, workspace},
    setup,
};

/// What is shipped as it is: place in the package, mode, content.
const FILES: [(&str, u32, &str); 6] = [
    ("usr/lib/systemd/system/portlane.service", 0o644, include_str!("../dist/portlane.service")),
    ("usr/lib/systemd/system/portlane-repair.service", 0o644, include_str!("../dist/portlane-repair.service")),
    ("etc/portlane/daemon.json", 0o644, include_str!("../dist/daemon.json")),
    ("DEBIAN/postinst", 0o755, include_str!("../dist/postinst")),
    ("DEBIAN/prerm", 0o755, include_str!("../dist/prerm")),
    ("DEBIAN/postrm", 0o755, include_str!("../dist/postrm")),
];
/// What the administrator changes, and an upgrade leaves alone.
const CONFFILES: &str = "/etc/portlane/daemon.json\n";
/// Shells, and where each looks for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/portlane"),
    ("fish", "usr/share/fish/vendor_completions.d/portlane.fish"),
    ("zsh", "usr/share/zsh/vendor-completions/_portlane"),
];
const BINARY: &str = "usr/bin/portlane";
const MAN: &str = "usr/share/man/man1";
const DOC: &str = "usr/share/doc/portlane";

/// Builds portlane as it is shipped, unless `binary` names one, and packages it in `to`, or `target/dist`.
///
/// # Errors
/// When set-up or build fails, or a tool is missing.
pub fn run(binary: Option<PathBuf>, to: Option<PathBuf>) -> Result<()> {
    let debug = built("portlane")?;
    let target = debug.parent().and_then(Path::parent).context("cannot find the target folder")?.to_owned();
    let binary = match binary {
        Some(binary) => binary,
        None => {
            step("setup", setup::run)?;
            step("build portlane", || done(cargo().args(["build", "--release", "--package", "portlane"])))?;
            target.join("release/portlane")
        }
    };
    let to = to.unwrap_or_else(|| target.join("dist"));
    let tree = to.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    step("man pages, completions and units", || fill(&tree, &binary))?;
    let package = step("Debian package", || package(&tree, &to))?;
    println!("{}", package.display());
    Ok(())
}

/// The package's files, as they are installed.
fn fill(tree: &Path, binary: &Path) -> Result<()> {
    let program = tree.join(BINARY);
    write(&program, 0o755, &fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?)?;
    if find("strip").is_some() {
        done(tool("strip").arg(&program))?;
    }
    for (path, mode, content) in FILES {
        write(&tree.join(path), mode, content.as_bytes())?;
    }
    for (shell, path) in COMPLETIONS {
        let script = output(tool(&program.to_string_lossy()).args(["completions", shell]));
        let script = script.with_context(|| format!("{} has no completions for {shell}", binary.display()))?;
        write(&tree.join(path), 0o644, format!("{script}\n").as_bytes())?;
    }
    done(tool(&program.to_string_lossy()).arg("man-pages").arg(tree.join(MAN)))?;
    for page in files(&tree.join(MAN))? {
        set_mode(&page, 0o644)?;
        // -n: the same pages are the same bytes.
        done(tool("gzip").args(["-9", "--no-name", "--force"]).arg(page))?;
    }
    let root = workspace();
    for from in ["README.md", "docs/json.md", "docs/nat-behaviour.md", "docs/docker-behaviour.md"] {
        let text = fs::read(root.join(from)).with_context(|| format!("cannot read {from}"))?;
        let name = Path::new(from).file_name().unwrap_or_default();
        write(&tree.join(DOC).join(name), 0o644, &text)?;
    }
    let licences = ["LICENSE-MIT", "LICENSE-APACHE"].map(|name| fs::read_to_string(root.join(name)));
    let licences = licences.into_iter().collect::<Result<Vec<_>, _>>().context("cannot read the licences")?;
    let copyright = format!(
        "portlane, {}\nLicence: MIT or Apache-2.0, at your choice; of the eBPF object, MIT or GPL-2\n\n",
        env!("CARGO_PKG_REPOSITORY")
    );
    write(&tree.join(DOC).join("copyright"), 0o644, (copyright + &licences.join("\n")).as_bytes())
}

/// Makes the package of the tree; returns where it is.
fn package(tree: &Path, to: &Path) -> Result<PathBuf> {
    let architecture = output(tool("dpkg").arg("--print-architecture"))
        .context("dpkg is missing: Debian packages are made on Debian, or where dpkg is installed")?;
    let program = fs::read(tree.join(BINARY)).context("cannot read the program")?;
    let installed: u64 = walk(tree)?.iter().filter_map(|file| Some(file.metadata().ok()?.len().div_ceil(1024))).sum();
    write(&tree.join("DEBIAN/conffiles"), 0o644, CONFFILES.as_bytes())?;
    write(&tree.join("DEBIAN/control"), 0o644, control(&architecture, &depends(&program)?, installed).as_bytes())?;
    let package = to.join(format!("portlane_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    done(tool("dpkg-deb").args(["--root-owner-group", "--build"]).arg(tree).arg(&package))?;
    Ok(package)
}

fn control(architecture: &str, depends: &str, installed: u64) -> String {
    format!(
        "Package: portlane\n\
         Version: {}\n\
         Architecture: {architecture}\n\
         Maintainer: The portlane authors <portlane@localhost>\n\
         Installed-Size: {installed}\n\
         Depends: {depends}\n\
         Suggests: bpftool, iproute2\n\
         Section: net\n\
         Priority: optional\n\
         Homepage: {}\n\
         Description: Docker's network model with eBPF in the place of iptables\n \
         Bridge networks, published ports, masquerade, isolation and links for containers\n \
         and any other process, with eBPF programs and BPF maps in the place of iptables,\n \
         nf_conntrack and docker-proxy. A range of ports is one map entry, and nothing\n \
         runs between two commands.\n \
         .\n \
         It needs Linux 5.18 or later; `portlane status` says what lacks.\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_REPOSITORY"),
    )
}

/// The packages whose libraries the program is linked to.
fn depends(program: &[u8]) -> Result<String> {
    let Some(minor) = newest_glibc(program) else { bail!("the program is not linked to glibc") };
    let unwinds = program.windows(13).any(|bytes| bytes == b"libgcc_s.so.1");
    Ok(format!("libc6 (>= 2.{minor}){}", if unwinds { ", libgcc-s1" } else { "" }))
}

/// The newest version of glibc that it has symbols of: 36 is 2.36.
fn newest_glibc(program: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b"GLIBC_2.";
    let marks = program.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK);
    let minor = |(at, _): (usize, &[u8])| {
        let digits = program[at + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.map(|byte| char::from(*byte)).collect::<String>().parse().ok()
    };
    marks.filter_map(minor).max()
}

fn write(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    set_mode(path, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).with_context(|| format!("cannot change {}", path.display()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in files(folder)? {
        if path.is_dir() { found.extend(walk(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_tells_which_glibc_is_needed() {
        assert_eq!(newest_glibc(b"..GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.9"), Some(34));
        assert_eq!(newest_glibc(b"musl"), None);
        assert!(depends(b"GLIBC_2.34 libgcc_s.so.1").is_ok_and(|found| found == "libc6 (>= 2.34), libgcc-s1"));
    }

    #[test]
    fn the_description_is_one_that_dpkg_reads() {
        let control = control("amd64", "libc6", 1);
        let description: Vec<_> = control.lines().skip_while(|line| !line.starts_with("Description: ")).collect();
        assert!(description.len() > 3 && description[1..].iter().all(|line| line.starts_with(' ')), "{control}");
        assert!(control.ends_with('\n') && control.contains(concat!("Version: ", env!("CARGO_PKG_VERSION"), "\n")));
    }
}
