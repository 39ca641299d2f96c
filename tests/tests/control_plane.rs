//! Containers and networks as their users see them.
#![cfg(feature = "root")]

use std::{os::unix::fs::MetadataExt as _, process::Command};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Conversation, Family, Topology, at, both, ip, test, test_with, until};

fn started(net: &Topology, options: &[&str]) -> Result<()> {
    net.portlane(&[&["run", "-d"], options, &["--", "sleep", "600"]].concat()).map(drop)
}

#[test]
fn a_container_has_eth0_an_address_of_its_network_and_a_default_route_in_both_families() -> Result<()> {
    test(|net| {
        started(net, &["--name", "c"])?;
        let inspected = net.json(&["inspect", "c"])?;
        let shown = net.portlane(&["exec", "c", "--", "ip", "-o", "addr", "show", "dev", "eth0"])?;
        for key in ["addr4", "addr6"] {
            let address = inspected[key].as_str().context(key)?;
            ensure!(shown.contains(&format!(" {address}/")), "{address} is not on eth0: {shown}");
        }
        let network = net.json(&["network", "inspect", "portlane0"])?;
        for (family, key) in [("-4", "gateway4"), ("-6", "gateway6")] {
            let gateway = network[key].as_str().context(key)?;
            let route = net.portlane(&["exec", "c", "--", "ip", family, "route", "show", "default"])?;
            ensure!(route.starts_with(&format!("default via {gateway} dev eth0")), "{route}");
        }
        let bridge = net.host().run(&["ip", "-o", "addr", "show", "dev", "portlane0"])?;
        ensure!(bridge.contains(network["gateway4"].as_str().context("gateway4")?), "{bridge}");
        Ok(())
    })
}

#[test]
fn a_container_reads_its_own_names_and_name_servers() -> Result<()> {
    test(|net| {
        started(net, &["--name", "db", "--hostname", "postgres"])?;
        let options = [
            "--rm",
            "--hostname",
            "front",
            "--link",
            "db:database",
            "--add-host",
            "api:192.0.2.9",
            "--add-host",
            "host.docker.internal:host-gateway",
            "--dns",
            "192.0.2.53",
            "--dns-search",
            "example.org",
            "--",
        ];
        let read = |file: &str| net.portlane(&[&["run"], &options[..], &["cat", file]].concat());
        let hosts = read("/etc/hosts")?;
        let db = net.json(&["inspect", "db"])?["addr4"].as_str().context("addr4")?.to_owned();
        let gateway =
            net.json(&["network", "inspect", "portlane0"])?["gateway4"].as_str().context("gateway4")?.to_owned();
        let host = format!("{gateway}\thost.docker.internal");
        for line in ["127.0.0.1\tlocalhost", "192.0.2.9\tapi", &host, &format!("{db}\tdatabase postgres db")] {
            ensure!(hosts.lines().any(|found| found == line), "no `{line}` in {hosts}");
        }
        ensure!(read("/etc/hostname")? == "front", "the hostname file");
        // Everybody inside may read them, whoever started the container.
        let modes = ["run", "--rm", "--", "stat", "-c", "%a", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"];
        let modes = net.portlane_words(&modes);
        let modes: Vec<&str> = modes.iter().map(String::as_str).collect();
        let modes = net.host().run(&[&["sh", "-c", "umask 077; exec \"$@\"", "sh"], &modes[..]].concat())?;
        ensure!(modes == "644\n644\n644", "{modes}");
        ensure!(net.portlane(&[&["run"], &options[..], &["hostname"]].concat())? == "front", "the host name");
        let resolv = read("/etc/resolv.conf")?;
        ensure!(resolv.contains("search example.org") && resolv.contains("nameserver 192.0.2.53"), "{resolv}");
        Ok(())
    })
}

#[test]
fn addresses_and_mac_are_those_asked_for() -> Result<()> {
    test(|net| {
        let subnets = ["--subnet", "10.88.0.0/24", "--gateway", "10.88.0.254", "--subnet", "fd00:88::/64"];
        net.portlane(&[&["network", "create"], &subnets[..], &["n"]].concat())?;
        let asked = ["--ip", "10.88.0.7", "--ip6", "fd00:88::77", "--mac-address", "02:00:00:00:00:77"];
        started(net, &[&["--name", "c", "--network", "n"], &asked[..]].concat())?;
        let shown = net.portlane(&["exec", "c", "--", "ip", "addr", "show", "dev", "eth0"])?;
        for word in ["10.88.0.7/24", "fd00:88::77/64", "02:00:00:00:00:77"] {
            ensure!(shown.contains(word), "no {word}: {shown}");
        }
        let route = net.portlane(&["exec", "c", "--", "ip", "route", "show", "default"])?;
        ensure!(route.contains("10.88.0.254"), "{route}");
        Ok(())
    })
}

#[test]
fn none_has_only_loopback_host_has_the_hosts_and_container_shares_anothers() -> Result<()> {
    test(|net| {
        let links = |network: &str| net.portlane(&["run", "--rm", "--network", network, "--", "ip", "-br", "link"]);
        let none = links("none")?;
        ensure!(none.lines().count() == 1 && none.starts_with("lo") && none.contains("UP"), "{none}");
        ensure!(links("host")?.contains("up0"), "the host's uplink is not there");
        let host = net.host().run(&["hostname"])?;
        ensure!(net.portlane(&["run", "--rm", "--network", "host", "--", "hostname"])? == host, "not the host's name");
        let web = net.container("web", "--hostname web1 --add-host api:192.0.2.9", "tcp [::]:80")?;
        let names = ["run", "--rm", "--network", "container:web", "--", "sh", "-c", "hostname; cat /etc/hosts"];
        let names = net.portlane(&names)?;
        ensure!(names.starts_with("web1\n") && names.contains("192.0.2.9\tapi"), "{names}");
        let address =
            |of: &[&str]| net.portlane(&[of, &["--", "ip", "-4", "-br", "addr", "show", "dev", "eth0"]].concat());
        let shared = address(&["run", "--rm", "--network", "container:web"])?;
        ensure!(shared == address(&["exec", "web"])?, "{shared}");
        ensure!(shared.contains(&web.field("addr4")), "{shared}");
        Ok(())
    })
}

#[test]
fn run_and_exec_have_the_exit_status_of_what_they_ran_and_pass_signals_on() -> Result<()> {
    test(|net| {
        started(net, &["--name", "c"])?;
        let status = |arguments: &[&str]| net.status(arguments);
        ensure!(status(&["run", "--rm", "--", "sh", "-c", "exit 42"])? == Some(42), "run");
        ensure!(status(&["exec", "c", "--", "sh", "-c", "exit 43"])? == Some(43), "exec");
        ensure!(status(&["run", "--rm", "--", "sh", "-c", "kill -TERM $$"])? == Some(128 + 15), "a signal");
        // What is to end with its parent (`PR_SET_PDEATHSIG`), which is a thread, ends with portlane.
        let bound = ["--", "setpriv", "--pdeathsig", "KILL", "sh", "-c", "sleep 0.5; exit 44"];
        for verb in [["run", "--rm"], ["exec", "c"]] {
            ensure!(status(&[&verb[..], &bound].concat())? == Some(44), "{verb:?}: its parent was gone");
        }
        // What is sent to portlane reaches the command, which ends as it likes.
        let trap = "trap 'exit 9' TERM; kill -TERM $PPID; while :; do sleep 0.1; done";
        ensure!(status(&["run", "--rm", "--", "sh", "-c", trap])? == Some(9), "a signal to portlane");
        ensure!(net.json(&["ps"])?.as_array().is_some_and(|left| left.len() == 1), "`--rm` left containers");
        Ok(())
    })
}

#[test]
fn a_container_that_ends_lets_go_of_its_address_and_port_and_what_it_left_running() -> Result<()> {
    test(|net| {
        let leaves_one_behind = ["run", "--name", "c", "-p", "8080:80", "--", "sh", "-c", "setsid sleep 4321 & exit 3"];
        ensure!(net.status(&leaves_one_behind)? == Some(3), "its exit status");
        let c = net.json(&["inspect", "c"])?;
        ensure!(c["status"] == "exited (3)", "{c}");
        let namespaces = net.host().run(&["ls", "/run/netns"])?;
        ensure!(!namespaces.contains(c["netns"].as_str().context("netns")?), "{namespaces}");
        let left = net.host().run(&["sh", "-c", "pgrep -fx 'sleep 4321' || true"])?;
        ensure!(left.is_empty(), "what it started still runs: {left}");
        net.portlane(&["run", "--rm", "-p", "8080:80", "--", "true"])?;
        net.portlane(&["rm", "c"]).map(drop)
    })
}

#[test]
fn a_container_that_ended_without_its_parent_having_heard_of_it_lets_go_of_its_port() -> Result<()> {
    test(|net| {
        // Its parent is stopped, once it lets others go on, and then it ends: there is a process of its number for as long.
        let lock = net.state().join("lock");
        let ends = format!("flock {} kill -STOP $PPID; kill -KILL $$", lock.display());
        let unheard_of = ["run", "--name", "c", "-p", "8080:80", "--", "sh", "-c", &ends];
        let mut parent = net.portlane_started(&unheard_of)?;
        let child = format!("ps -o stat= --ppid {}", parent.id());
        until(|| Ok(net.host().run(&["sh", "-c", &format!("{child} || true")])?.starts_with('Z')))?;
        let successor = net.portlane(&["run", "-d", "--name", "d", "-p", "8080:80", "--", "sleep", "600"]);
        parent.kill()?;
        parent.wait()?;
        successor?;
        let c = net.json(&["inspect", "c"])?;
        ensure!(c["status"] == "exited", "{c}");
        Ok(())
    })
}

#[test]
fn stopping_asks_first_and_then_kills() -> Result<()> {
    test(|net| {
        net.portlane(&[
            "run",
            "-d",
            "--name",
            "polite",
            "--",
            "sh",
            "-c",
            "trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.1; done",
        ])?;
        let log = net.json(&["inspect", "polite"])?["log"].as_str().context("log")?.to_owned();
        net.host().run(&["sh", "-c", &format!("until grep -q on {log}; do sleep 0.02; done")])?;
        net.portlane(&["stop", "polite"])?;
        ensure!(std::fs::read_to_string(&log)? == "on\nbye\n", "it was not asked");
        net.portlane(&["run", "-d", "--name", "deaf", "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])?;
        net.portlane(&["stop", "-t", "0", "deaf"])?;
        let status = |name: &str| Ok::<_, anyhow::Error>(net.json(&["inspect", name])?["status"].clone());
        ensure!(status("deaf")? == "exited (137)", "{}", status("deaf")?);
        // Before Linux 6.15, its parent alone may know.
        let polite = status("polite")?;
        ensure!(polite == "exited (0)" || polite == "exited", "{polite}");
        Ok(())
    })
}

#[test]
fn daemon_json_shapes_the_default_network() -> Result<()> {
    let settings = r#"{"bip": "10.66.0.1/24", "fixed-cidr-v6": "fd00:66::/64", "mtu": 1400, "icc": false,
                       "dns": ["192.0.2.53"], "iptables": true}"#;
    test_with(settings, |net| {
        started(net, &["--name", "c"])?;
        let network = net.json(&["network", "inspect", "bridge"])?;
        ensure!(network["subnet4"] == "10.66.0.0/24" && network["subnet6"] == "fd00:66::/64", "{network}");
        ensure!(network["icc"] == false && network["gateway4"] == "10.66.0.1", "{network}");
        let link = net.portlane(&["exec", "c", "--", "ip", "link", "show", "dev", "eth0"])?;
        ensure!(link.contains("mtu 1400"), "{link}");
        let resolv = net.portlane(&["exec", "c", "--", "cat", "/etc/resolv.conf"])?;
        ensure!(resolv.contains("nameserver 192.0.2.53"), "{resolv}");
        Ok(())
    })
}

#[test]
fn traffic_flows_and_is_counted_while_nothing_of_portlanes_runs() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        let running = net.host().run(&["sh", "-c", "pgrep -x portlane || true"])?;
        // Tests that run beside this one may be in the middle of a command.
        ensure!(running.lines().count() <= 2, "portlane runs: {running}");
        both(|family: Family| {
            let before = packets(net)?;
            net.outside().ask("tcp", at(family.host(), 8080))?;
            ensure!(packets(net)? > before, "nothing was counted");
            Ok(())
        })
    })
}

fn packets(net: &Topology) -> Result<u64> {
    net.json(&["stats"])?["ports"][0]["rx_packets"].as_u64().context("the published port is not counted")
}

#[test]
fn repair_puts_back_what_somebody_took_away() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        let target = at(Family::V4.host(), 8080);
        net.outside().ask("tcp", target)?;
        let links = net.bpffs().join("links");
        net.host().run(&["sh", "-c", &format!("rm {}/from_uplink-up0", links.display())])?;
        // Without tcx, the filter outlives its record.
        net.host().run(&["tc", "filter", "del", "dev", "up0", "ingress"]).ok();
        net.host()
            .run(&[
                "bpftool",
                "map",
                "delete",
                "pinned",
                &net.bpffs().join("maps/pl_config").to_string_lossy(),
                "key",
                "0",
                "0",
                "0",
                "0",
            ])
            .ok();
        net.outside().no_answer("tcp", target)?;
        let steps = net.portlane(&["repair", "--dry-run"])?;
        ensure!(steps.contains("attach from_uplink on up0"), "{steps}");
        net.portlane(&["repair"])?;
        net.outside().ask("tcp", target)?;
        ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "not repaired");
        Ok(())
    })
}

#[test]
fn repair_attaches_again_what_went_with_the_folder_of_links_and_each_socket_program() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        let target = at(Family::V4.host(), 8080);
        let own = at(Family::V4.loopback(), 8080);
        let links = net.bpffs().join("links");
        for (what, also) in [("connect4", false), ("", true)] {
            net.host().run(&["rm", "-r", &links.join(what).to_string_lossy()])?;
            net.host().no_answer("tcp", own)?;
            let sentence = "attach the socket programs to the cgroup";
            for command in [&["repair", "--dry-run"][..], &["repair"]] {
                let steps = net.portlane(command)?;
                ensure!(steps.lines().any(|step| step.trim() == sentence), "{command:?} without {what:?}: {steps}");
                ensure!(steps.contains("attach from_uplink on up0") == also, "{command:?} without {what:?}: {steps}");
            }
            net.host().ask("tcp", own)?;
            net.outside().ask("tcp", target)?;
            ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "not repaired");
        }
        net.host().run(&["rm", "-r", &links.to_string_lossy()])?;
        net.portlane(&["rm", "-f", "web"]).map(drop)
    })
}

#[test]
fn a_running_containers_namespace_that_lost_its_name_is_named_again_and_nobody_is_cut_off() -> Result<()> {
    test(|net| {
        let _server = net.outside().serve("tcp [::]:9000")?;
        for take in ["ip netns del", "umount"] {
            let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
            let netns = web.field("netns");
            let mut talks = Vec::new();
            both(|family| {
                talks.push(net.outside().converse("tcp", at(family.host(), 8080), &[])?);
                talks.push(web.inside().converse("tcp", at(family.outside(), 9000), &[])?);
                Ok(())
            })?;
            let name = if take == "umount" { format!("/run/netns/{netns}") } else { netns.clone() };
            // Not by way of `ip netns exec`, which has mounts of its own.
            let taken = Command::new("sh").args(["-c", &format!("{take} {name}")]).status()?;
            ensure!(taken.success(), "{take} {name}");
            let step = format!("name network namespace {netns} again, which process {} is in", web_pid(net)?);
            ensure!(net.portlane(&["repair", "--dry-run"])? == step, "{}", net.portlane(&["repair", "--dry-run"])?);
            net.portlane(&["repair"])?;
            ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "not repaired");
            talks.iter_mut().try_for_each(Conversation::goes_on)?;
            both(|family| {
                net.outside().ask("tcp", at(family.host(), 8080))?;
                web.inside().ask("tcp", at(family.outside(), 9000)).map(drop)
            })?;
            net.portlane(&["rm", "-f", "web"])?;
            ensure!(!net.host().run(&["ls", "/run/netns"])?.contains(&netns), "a namespace is left");
            let left = net.host().run(&["sh", "-c", "ip -o link | grep veth || true"])?;
            ensure!(!left.contains(&web.field("veth")), "an interface is left: {left}");
        }
        Ok(())
    })
}

#[test]
fn any_command_that_changes_something_gives_a_namespace_its_name_back() -> Result<()> {
    test(|net| {
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        started(net, &["--name", "sidecar", "--network", "container:web"])?;
        ip(&format!("netns del {}", web.field("netns")))?;
        started(net, &["--name", "other", "--network", "container:web"])?;
        let inode = |path: &str| Ok::<_, anyhow::Error>(std::fs::metadata(path)?.ino());
        let (named, inside) = (format!("/run/netns/{}", web.field("netns")), format!("/proc/{}/ns/net", web_pid(net)?));
        ensure!(inode(&named)? == inode(&inside)?, "the name is another namespace's");
        let other = net.portlane(&["exec", "other", "--", "ip", "-br", "addr", "show", "dev", "eth0"])?;
        ensure!(other.contains(&web.field("addr4")), "{other}");
        net.portlane(&["rm", "-f", "web", "sidecar", "other"]).map(drop)
    })
}

fn web_pid(net: &Topology) -> Result<u64> {
    net.json(&["inspect", "web"])?["pid"].as_u64().context("web has no process")
}

#[test]
fn uninstalling_leaves_no_interface_no_pin_and_no_file() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        net.portlane(&["network", "create", "n"])?;
        let netns = net.json(&["inspect", "web"])?["netns"].as_str().context("netns")?.to_owned();
        ensure!(net.refused(&["uninstall"])?.contains("web"), "it does not name who runs");
        net.portlane(&["uninstall", "--force"])?;
        let waited =
            "for i in $(seq 100); do ip -o link | grep -qE 'veth|portlane0|pl-' || exit 0; sleep 0.05; done; exit 1";
        net.host().run(&["sh", "-c", waited]).context("interfaces are left")?;
        ensure!(!net.bpffs().exists(), "pins are left");
        ensure!(!net.host().run(&["ls", "/run/netns"])?.contains(&netns), "a namespace is left");
        ensure!(!net.state().exists(), "the state directory is left");
        Ok(())
    })
}

#[test]
fn with_vv_the_programs_tell_what_they_refuse_and_without_it_they_do_not() -> Result<()> {
    test(|net| {
        let spoof = "ip addr add 10.1.2.3/24 dev eth0; ping -c1 -W1 -I 10.1.2.3 172.17.0.1; true";
        let (_, said) = net.said(&["-vv", "run", "--rm", "--network", "bridge", "--", "sh", "-c", spoof])?;
        ensure!(said.contains("from_container refused a packet: a container claimed another"), "{said}");
        let (_, said) = net.said(&["run", "--rm", "--network", "bridge", "--", "sh", "-c", spoof])?;
        ensure!(!said.contains("refused a packet"), "{said}");
        Ok(())
    })
}
