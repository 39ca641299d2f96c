//! The Debian package, as `cargo xtask dist` makes it of the program under test.
#![cfg(feature = "root")]

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Topology, test};

/// What a command prints, which must succeed.
fn run(command: &[&str]) -> Result<String> {
    let output = Command::new(command[0]).args(&command[1..]).output().with_context(|| command.join(" "))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}`: {}: {said}", command.join(" "), output.status);
    // What man finds wrong with a page it only says.
    Ok(format!("{}{said}", String::from_utf8_lossy(&output.stdout)))
}

/// Makes the package and unpacks it; returns the package and the folder.
fn package(net: &Topology) -> Result<[String; 2]> {
    let portlane = env::var("PORTLANE_BIN").context("PORTLANE_BIN")?;
    let xtask = Path::new(&portlane).with_file_name("xtask").to_string_lossy().into_owned();
    let [to, root] = ["dist", "root"].map(|name| net.file(name).to_string_lossy().into_owned());
    run(&[&xtask, "dist", "--binary", &portlane, "--to", &to])?;
    let packages = fs::read_dir(&to)?.flatten().map(|entry| entry.path().to_string_lossy().into_owned());
    let package = packages.into_iter().find(|path| path.ends_with(".deb")).context("there is no package")?;
    run(&["dpkg-deb", "--extract", &package, &root])?;
    Ok([package, root])
}

#[test]
fn the_debian_package_is_whole_its_man_pages_can_be_read_and_its_units_started() -> Result<()> {
    test(|net| {
        let [package, root] = package(net)?;
        check_package(net, &package, &root).context("the package")?;
        check_man_pages(&root).context("man pages")?;
        check_units(&root).context("units")
    })
}

fn check_package(net: &Topology, package: &str, root: &str) -> Result<()> {
    let (info, contents) = (run(&["dpkg-deb", "--info", package])?, run(&["dpkg-deb", "--contents", package])?);
    let version = net.portlane(&["--version"])?.replace("portlane ", "Version: ");
    for line in ["Package: portlane", &version, "Depends: libc6 (>= 2.", "Description: Docker's network model"] {
        ensure!(info.contains(line), "no `{line}`: {info}");
    }
    ensure!(run(&["dpkg-deb", "--info", package, "conffiles"])?.trim() == "/etc/portlane/daemon.json", "{info}");
    for (file, mode) in [
        ("./usr/bin/portlane", "-rwxr-xr-x"),
        ("./etc/portlane/daemon.json", "-rw-r--r--"),
        ("./usr/lib/systemd/system/portlane.service", "-rw-r--r--"),
        ("./usr/lib/systemd/system/portlane-repair.service", "-rw-r--r--"),
        ("./usr/share/man/man1/portlane.1.gz", "-rw-r--r--"),
        ("./usr/share/man/man1/portlane-network-create.1.gz", "-rw-r--r--"),
        ("./usr/share/bash-completion/completions/portlane", "-rw-r--r--"),
        ("./usr/share/zsh/vendor-completions/_portlane", "-rw-r--r--"),
        ("./usr/share/fish/vendor_completions.d/portlane.fish", "-rw-r--r--"),
        ("./usr/share/doc/portlane/copyright", "-rw-r--r--"),
    ] {
        let row = contents.lines().find(|row| row.ends_with(&format!(" {file}")));
        let row = row.with_context(|| format!("no {file}: {contents}"))?;
        ensure!(row.starts_with(mode) && row.contains(" root/root "), "{row}");
    }
    ensure!(!contents.contains(".wants/"), "a unit is enabled: {contents}");
    let (shipped, none) = (format!("{root}/usr/bin/portlane"), net.file("none").to_string_lossy().into_owned());
    let shipped = run(&[&shipped, "--config", &format!("{root}/etc/portlane/daemon.json"), "--root", &none, "ps"])?;
    ensure!(shipped.starts_with("CONTAINER ID") && !shipped.contains("warn"), "{shipped}");
    run(&["bash", "-n", &format!("{root}/usr/share/bash-completion/completions/portlane")]).map(drop)
}

/// man finds nothing wrong, and shows examples as they are typed.
fn check_man_pages(root: &str) -> Result<()> {
    let mut pages = 0;
    for page in fs::read_dir(format!("{root}/usr/share/man/man1"))? {
        let path = page?.path().to_string_lossy().into_owned();
        let page = run(&["man", "--warnings", "--encoding=UTF-8", "--local-file", &path])?;
        ensure!(!page.contains("warning:") && page.contains("SYNOPSIS"), "{path}: {page}");
        pages += 1;
    }
    ensure!(pages > 20, "{pages} pages");
    let page = run(&["man", "--local-file", &format!("{root}/usr/share/man/man1/portlane-run.1.gz")])?;
    let example = "portlane run -d --name web -p 8080:80 -- nginx -g 'daemon off;'";
    ensure!(page.lines().any(|line| line.trim() == example), "no `{example}`: {page}");
    Ok(())
}

/// The daemon is told to read its settings again, and containers neither end with it nor are any different for being
/// started by it.
fn check_service(unit: &str) -> Result<()> {
    let settings: Vec<&str> = unit.lines().filter(|line| !line.starts_with('#')).collect();
    let reload = "ExecReload=/bin/kill -HUP $MAINPID";
    for needed in ["Type=notify", reload, "KillMode=process", "OOMPolicy=continue", "TasksMax=infinity"] {
        ensure!(settings.contains(&needed), "no `{needed}`: {unit}");
    }
    let inherited = [
        "UMask",
        "CapabilityBoundingSet",
        "NoNewPrivileges",
        "SystemCallFilter",
        "SystemCallArchitectures",
        "Restrict",
        "LockPersonality",
        "MemoryDenyWriteExecute",
        // These give it mounts that nobody else sees.
        "Protect",
        "Private",
    ];
    let found = settings.iter().find(|line| inherited.iter().any(|name| line.starts_with(name)));
    ensure!(found.is_none(), "{found:?} is in the way: {unit}");
    Ok(())
}

fn check_units(root: &str) -> Result<()> {
    let units = ["portlane.service", "portlane-repair.service"];
    check_service(&fs::read_to_string(format!("{root}/usr/lib/systemd/system/{}", units[0]))?)?;
    for unit in units {
        let path = format!("{root}/usr/lib/systemd/system/{unit}");
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains("ExecStart=/usr/bin/portlane "), "{text}");
        // The program is not installed where the test runs.
        fs::write(&path, text.replace("/usr/bin/portlane", &format!("{root}/usr/bin/portlane")))?;
    }
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        // Debian has systemd, a container of it need not: the units were at least made.
        return Ok(());
    }
    let paths = units.map(|unit| format!("{root}/usr/lib/systemd/system/{unit}"));
    let said = run(&["systemd-analyze", "verify", "--man=no", &paths[0], &paths[1]])?;
    ensure!(!said.contains("portlane"), "{said}");
    Ok(())
}
