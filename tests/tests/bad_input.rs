//! What makes no sense, or clashes with what is there: one clear sentence, and nothing is changed.
#![cfg(feature = "root")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Topology, at, both, test, test_with, until};

/// Everything that a refused request could have changed.
fn picture(net: &Topology) -> Result<String> {
    let look = |command: &[&str]| net.host().run(command);
    Ok([
        net.portlane(&["--json", "ps"])?,
        net.portlane(&["--json", "network", "ls"])?,
        look(&["sh", "-c", "ip -o link | cut -d: -f2"])?,
        format!("{:?}", net.dump("pl_publish4")?),
        format!("{:?}", net.dump("pl_endpoint4")?),
        net.portlane(&["repair", "--dry-run"])?,
    ]
    .join("\n"))
}

/// Each request is refused with exit status 1 and a sentence that holds the words; nothing changes.
fn refused(net: &Topology, requests: &[(&str, &[&str])]) -> Result<()> {
    // Interfaces of containers that ended go in the background.
    net.host().run(&[
        "sh",
        "-c",
        "for i in $(seq 100); do [ $(ip -o link | grep -c veth) -le 1 ] && exit; sleep 0.05; done",
    ])?;
    let before = picture(net)?;
    for (request, words) in requests {
        let arguments: Vec<&str> = request.split(' ').collect();
        let said = net.refused(&arguments)?;
        ensure!(said.lines().count() == 1 && said.starts_with("portlane: "), "`{request}` says: {said}");
        for word in *words {
            ensure!(said.contains(word), "`{request}` does not say `{word}`: {said}");
        }
        let after = picture(net)?;
        ensure!(after == before, "`{request}` changed something:\n{before}\n\n{after}");
    }
    Ok(())
}

#[test]
fn a_port_that_is_taken_names_its_holder() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 10080:80 -p 20000-20009:30-39/udp -p 127.0.0.1:9000:90", "tcp [::]:80")?;
        let _listener = net.host().serve("host tcp 0.0.0.0:7000 udp [::]:7001")?;
        refused(
            net,
            &[
                ("run --name b2 -p 10080:80 -- true", &["published by web", "b2 cannot also map 10080"]),
                ("run --name b2 -p 10079-10081:1-3 -- true", &["10080/tcp", "web", "b2 cannot also map 10079-10081"]),
                ("run --name b2 -p 20005:1/udp -- true", &["20005/udp", "web"]),
                ("run --name b2 -p 9000:1 -p 9000:2 -- true", &["9000"]),
                ("run --name b2 -p 127.0.0.1:9000:1 -- true", &["9000/tcp", "web"]),
                ("publish web 10080:81", &["web"]),
                ("run -p 7000:1 -- true", &["7000/tcp", "in use on this host by peer (pid "]),
                ("run -p 6999-7002:1-4/udp -- true", &["7001/udp", "peer"]),
                ("publish web 7000:80", &["7000/tcp", "peer"]),
            ],
        )?;
        // Of another protocol, or on another address, they are free.
        net.portlane(&["publish", "web", "10080:80/udp", "7001:1", "192.0.2.1:9000:1"])?;
        both(|family| net.outside().ask("tcp", at(family.host(), 10080)).map(drop))
    })
}

#[test]
fn names_addresses_and_networks_that_do_not_fit_are_refused() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "", "")?;
        net.portlane(&["network", "create", "--subnet", "10.99.0.0/24", "n"])?;
        refused(
            net,
            &[
                ("run --network nowhere -- true", &["no network `nowhere`"]),
                ("run --name web -- true", &["`web` is in use"]),
                ("run --name=-x -- true", &["`-x`"]),
                ("run --network n --ip 10.98.0.5 -- true", &["10.98.0.5", "10.99.0.0/24"]),
                ("run --network n --ip 10.99.0.1 -- true", &["the gateway"]),
                ("run --network n --ip6 fd00::5 -- true", &["no IPv6"]),
                ("run --network n --link web -- true", &["portlane0", "one network"]),
                ("run --link nobody -- true", &["no container `nobody`"]),
                ("run --network host -p 80:80 -- true", &["`host`"]),
                ("run --network container:nobody -- true", &["nobody"]),
                ("run --network container:web --hostname x -- true", &["names of its own"]),
                ("run --network none --add-host up:host-gateway -- true", &["`none`", "a way to the host"]),
                ("run --network container:web -p 80 -- true", &["published ports"]),
                ("run -p 192.0.2.77:80:80 -- true", &["192.0.2.77 is not an address of this host"]),
                ("network create n", &["network `n`"]),
                ("network create bridge", &["bridge"]),
                ("network create --subnet 10.99.0.0/16 m", &["overlaps", "`n`"]),
                ("network create --subnet 192.0.2.0/24 m", &["the host"]),
                ("network create --subnet 10.1.0.0/24 --gateway 10.2.0.1 m", &["10.2.0.1"]),
                ("network create -o mtu=70000 m", &["70000"]),
                ("network rm nowhere", &["nowhere"]),
                ("network rm portlane0", &["in use by web"]),
                ("publish nobody 80:80", &["nobody"]),
                ("unpublish web 80:80", &["does not publish"]),
                ("rm web", &["runs"]),
                ("rm -f web nobody", &["nobody"]),
                ("exec nobody -- true", &["nobody"]),
                ("port web 80", &["does not publish 80/tcp"]),
            ],
        )
    })
}

#[test]
fn a_wrong_command_line_is_explained_in_a_sentence_with_exit_status_2() -> Result<()> {
    test(|net| {
        for (request, words) in [
            ("run -p 80:90:100:110 -- true", "brackets"),
            ("run -p 80:0 -- true", "1 to 65535"),
            ("run -p 80-90:80-85 -- true", "equally long"),
            ("run -p 80/icmp -- true", "tcp, udp or sctp"),
            ("run -p 90-80 -- true", "ends before it begins"),
            ("run --ip 300.1.1.1 -- true", "`300.1.1.1`"),
            ("run --mac-address 01:00:5e:00:00:01 -- true", "unicast"),
            ("run --add-host db -- true", "name:address"),
            ("run", "--help"),
            ("run --detatch --rm true", "--detatch"),
            ("run -it true", "-i"),
            ("run -d --volume /a:/b true", "--volume"),
            ("exec web --tty true", "--tty"),
            ("frobnicate", "frobnicate"),
            ("network create -o icc=perhaps n", "icc=true"),
        ] {
            let arguments: Vec<&str> = request.split(' ').collect();
            let (code, said) = net.said(&arguments)?;
            ensure!(code == Some(2), "`{request}` exits with {code:?}: {said}");
            ensure!(said.lines().count() == 1 && said.contains(words), "`{request}` says: {said}");
        }
        Ok(())
    })
}

#[test]
fn a_command_that_is_not_there_is_refused_before_anything_is_made() -> Result<()> {
    test(|net| {
        net.portlane(&["network", "create", "n"])?;
        let before = picture(net)?;
        let (code, said) = net.said(&["run", "--network", "n", "-p", "80:80", "--", "no-such-command"])?;
        ensure!(code == Some(127) && said.contains("no-such-command"), "{code:?}: {said}");
        let text = net.file("text");
        fs::write(&text, "no program")?;
        let text = text.to_str().context("a path that is no text")?;
        let run = ["run", "--network", "n", "-p", "80:80", "--", text];
        let (code, said) = net.said(&run)?;
        ensure!(code == Some(126) && said.contains(text), "{code:?}: {said}");
        let after = picture(net)?;
        ensure!(after == before, "something was left:\n{before}\n\n{after}");
        // Only the kernel can tell that this is none either: what was made until then goes, its interface in the background.
        fs::set_permissions(text, Permissions::from_mode(0o755))?;
        let (code, said) = net.said(&run)?;
        ensure!(code == Some(126) && said.contains(text), "{code:?}: {said}");
        until(|| Ok(picture(net)? == before))
    })
}

#[test]
fn a_missing_bpffs_cgroup2_or_privilege_is_named_with_what_to_do_about_it() -> Result<()> {
    test(|net| {
        let (code, said) = net.said(&["--bpffs", "/run/not-bpf", "run", "--", "true"])?;
        ensure!(code == Some(1) && said.contains("mount -t bpf") && said.lines().count() == 1, "{code:?}: {said}");
        let without_cgroup2 = ["unshare", "--mount", "sh", "-c", "umount /sys/fs/cgroup; exec \"$@\"", "sh"];
        let (code, said) = net.said_through(&without_cgroup2, &["run", "--", "true"])?;
        ensure!(code == Some(1) && said.contains("mount -t cgroup2") && said.lines().count() == 1, "{code:?}: {said}");
        let (code, said) = net.said_through(&without_cgroup2, &["status"])?;
        ensure!(code == Some(1) && said.is_empty(), "{code:?}: {said}");
        let containers = net.json(&["ps"])?;
        ensure!(containers.as_array().is_some_and(Vec::is_empty), "{containers}");
        let (code, said) = net.said_through(&["setpriv", "--reuid=65534", "--clear-groups"], &["ps"])?;
        ensure!(code == Some(1) && said.contains("root") && said.lines().count() == 1, "{code:?}: {said}");
        let (code, _) = net.said_through(&["setpriv", "--reuid=65534", "--clear-groups"], &["status"])?;
        ensure!(code == Some(1), "`status` sees nothing missing: {code:?}");
        Ok(())
    })
}

#[test]
fn a_daemon_json_with_a_mistake_is_refused_with_its_line() -> Result<()> {
    test_with("{\n  \"icc\": false,\n  \"mtuu\": 1400\n}", |net| {
        let (code, said) = net.said(&["run", "--", "true"])?;
        ensure!(code == Some(1) && said.contains("line 3") && said.contains("`mtuu`"), "{code:?}: {said}");
        net.rewrite_daemon_json("{}").context("mending it")?;
        net.portlane(&["run", "--rm", "--", "true"]).map(drop)
    })
}
