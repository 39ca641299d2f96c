//! `portlane daemon`: what it adds to the commands, and that they do the same with it as without.
#![cfg(feature = "root")]

use std::{fs, os::unix::fs::PermissionsExt as _, thread};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use portlane_tests::topology::{Daemon, Family, Topology, at, test, test_with, until};
use serde_json::json;

/// Containers that callers start at once, each with a port of its own.
const CALLERS: u16 = 8;
/// No run changes as many interfaces, addresses and routes.
const MOST_EVENTS: u32 = 200;

/// What a command says directly it says by the daemon as well. Counters move by themselves: a container's kernel sends neighbour
/// discovery and multicast reports for some seconds after its start.
fn same(net: &Topology, daemon: &Daemon<'_>, command: &str) -> Result<()> {
    let arguments: Vec<&str> = command.split(' ').collect();
    let mut said = Default::default();
    until(|| {
        said = (net.portlane(&arguments)?, daemon.portlane(&arguments)?);
        Ok(said.0 == said.1)
    })
    .with_context(|| format!("`portlane {command}`:\n{}\n\nby the daemon:\n{}", said.0, said.1))
}

#[test]
fn every_command_says_the_same_by_the_daemon_as_directly() -> Result<()> {
    test(|net| {
        let daemon = net.daemon()?;
        let run = ["run", "-d", "--name", "web", "-p", "8080:80", "--expose", "81", "--add-host", "db:192.0.2.9"];
        let id = daemon.portlane(&[&run[..], &["--", "sleep", "600"]].concat())?;
        ensure!(id.len() == 64 && net.json(&["inspect", "web"])?["id"] == id.as_str(), "{id}");
        daemon.portlane(&["network", "create", "--subnet", "10.77.0.0/24", "-o", "icc=false", "quiet"])?;
        daemon.portlane(&["network", "connect", "--alias", "www", "--ip", "10.77.0.7", "quiet", "web"])?;
        let places = &net.json(&["inspect", "web"])?["networks"];
        ensure!(places[1]["addr4"] == "10.77.0.7" && places[1]["aliases"][0] == "www", "connected: {places}");
        ensure!(daemon.portlane(&["publish", "web", "9000-9009:90-99/udp"])?.contains("9000-9009"), "publish");
        for command in [
            "ps",
            "ps -q",
            "--json ps",
            "inspect web",
            "port web",
            "port web 95/udp",
            "--json port web",
            "network ls",
            "--json network ls",
            "network inspect quiet",
            "status",
            "--json status",
            "repair --dry-run",
            "repair",
            "--json repair",
            "reload",
            "--json reload",
            "flows",
            "--json flows",
            "stats",
        ] {
            same(net, &daemon, command)?;
        }
        let refusals = [
            "inspect nobody",
            "port web 1",
            "publish web 8080:81",
            "publish web 192.0.2.77:1:1",
            "unpublish web 1:1",
            "network create quiet",
            "network rm portlane0",
            "network inspect nowhere",
            "network connect quiet web",
            "network connect nowhere web",
            "network disconnect nowhere web",
            "network disconnect portlane0 nobody",
            "rm web",
            "rm -f web nobody",
            "run -d --network nowhere -- true",
            "run -d --name web -- true",
            "attach nowhere",
            "detach web",
        ];
        for command in refusals {
            let arguments: Vec<&str> = command.split(' ').collect();
            let (direct, asked) = (net.refused(&arguments)?, daemon.refused(&arguments)?);
            ensure!(direct == asked, "`portlane {command}`: {direct}, and by the daemon: {asked}");
        }
        daemon.portlane(&["unpublish", "web", "8080:80"])?;
        daemon.portlane(&["network", "disconnect", "quiet", "web"])?;
        ensure!(daemon.portlane(&["network", "rm", "quiet"])? == "quiet", "network rm");
        daemon.portlane(&["network", "create", "unused"])?;
        ensure!(daemon.portlane(&["network", "prune"])? == "unused", "network prune");
        let by_hand = net.by_hand("w1")?;
        daemon.portlane(&["attach", by_hand.netns(), "--name", "w1", "-p", "8080:80"])?;
        ensure!(net.json(&["inspect", "w1"])?["netns"] == by_hand.netns(), "attach");
        ensure!(daemon.portlane(&["detach", "w1"])? == "w1", "detach");
        ensure!(daemon.portlane(&["stop", "web"])? == "web", "stop");
        until(|| Ok(net.json(&["inspect", "web"])?["exit_code"] == 143))
            .context("the exit status of who is stopped")?;
        let script = "trap 'exit 5' TERM; echo on; while :; do sleep 0.05; done";
        daemon.portlane(&["run", "-d", "--name", "five", "--", "sh", "-c", script])?;
        let log = net.json(&["inspect", "five"])?["log"].as_str().context("log")?.to_owned();
        until(|| Ok(fs::read_to_string(&log)? == "on\n"))?;
        net.portlane(&["stop", "five"])?;
        until(|| Ok(net.json(&["inspect", "five"])?["status"] == "exited (5)")).context("its parent knows better")?;
        daemon.portlane(&["rm", "five"])?;
        ensure!(daemon.portlane(&["rm", "web"])? == "web", "rm");
        ensure!(net.json(&["ps"])? == json!([]), "it is there");
        for (command, words) in [("run -- true", "portlane run -d"), ("exec web -- true", "on this host only")] {
            let said = daemon.refused(&command.split(' ').collect::<Vec<_>>())?;
            ensure!(said.contains(words), "{said}");
        }
        Ok(())
    })
}

#[test]
fn http_callers_get_json_and_sentences() -> Result<()> {
    test(|net| {
        let daemon = net.daemon()?;
        let container = r#"{"name": "web", "publishes": ["8080:80"], "command": ["sleep", "600"]}"#;
        let (status, answer) = daemon.http("POST", "/containers", container)?;
        ensure!(status == 200 && answer["name"] == "web", "{status} {answer}");
        ensure!(daemon.http("GET", "/containers/web", "")?.1 == net.json(&["inspect", "web"])?, "inspect");
        let (status, answer) = daemon.http("POST", "/containers/web/ports", r#"["53/udp"]"#)?;
        ensure!(status == 200 && answer[0]["container_ports"] == json!([53, 53]), "{status} {answer}");
        for (method, path, body, expected) in [
            ("GET", "/containers/nobody", "", 404),
            ("GET", "/nothing", "", 404),
            ("POST", "/containers", container, 409),
            ("POST", "/containers", r#"{"command": ["no-such-command"]}"#, 409),
            ("POST", "/containers", "{}", 409),
            ("POST", "/containers", r#"{"comand": []}"#, 400),
            ("POST", "/containers", "nonsense", 400),
            ("POST", "/namespaces", r#"{"netns": "nowhere"}"#, 409),
            ("POST", "/namespaces", r#"{"netns": "nowhere", "hostname": "w1"}"#, 409),
            ("POST", "/namespaces", r#"{"name": "w1"}"#, 400),
            ("POST", "/containers/web/ports", r#"["8080:80:90:1"]"#, 400),
            ("DELETE", "/containers/web", "", 409),
        ] {
            let (status, answer) = daemon.http(method, path, body)?;
            let sentence = answer["error"].as_str().context("no sentence")?;
            ensure!(status == expected && !sentence.is_empty(), "{method} {path}: {status} {answer}");
        }
        ensure!(net.json(&["ps"])?.as_array().is_some_and(|left| left.len() == 1), "a refused request did something");
        Ok(())
    })
}

#[test]
fn several_callers_at_once_are_all_served() -> Result<()> {
    test(|net| {
        let daemon = net.daemon()?;
        thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|number| {
                    let daemon = &daemon;
                    scope.spawn(move || {
                        let (name, port) = (format!("c{number}"), format!("{}:80", 8000 + number));
                        daemon.portlane(&["run", "-d", "--name", &name, "-p", &port, "--", "sleep", "600"])?;
                        // Direct commands get their turn in between.
                        net.portlane(&["publish", &name, &format!("{}:81", 9000 + number)])?;
                        daemon.portlane(&["unpublish", &name, &port]).map(drop)
                    })
                })
                .collect();
            callers.into_iter().try_for_each(|caller| caller.join().expect("a caller does not panic"))
        })?;
        let containers = net.json(&["ps"])?;
        let containers = containers.as_array().context("no list")?;
        ensure!(containers.len() == usize::from(CALLERS), "{} containers", containers.len());
        for container in containers {
            let published = container["publishes"].as_array().context("no list")?;
            ensure!(container["status"] == "running" && published.len() == 1, "{container}");
        }
        ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "something differs");
        Ok(())
    })
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_run_leaves_a_whole_container_or_none() -> Result<()> {
    test(|net| {
        let (mut whole, mut none) = (0, 0);
        for events in (1..MOST_EVENTS).step_by(2) {
            let daemon = net.daemon()?;
            let container = r#"{"name": "k", "publishes": ["8080:80"], "command": ["sleep", "600"]}"#;
            let (count, socket) = (events.to_string(), net.daemon_socket());
            let curl = [
                "curl",
                "-s",
                "--unix-socket",
                &socket.to_string_lossy(),
                "http://localhost/containers",
                "-d",
                container,
            ];
            let mut monitor = net.host().dialog("links.py", &[&[&count[..]], &curl[..]].concat())?;
            let seen = monitor.say("go")?;
            daemon.crash()?;
            drop(monitor);
            let containers = net.json(&["ps"])?;
            let listed = containers.as_array().context("no list")?;
            match listed.first() {
                Some(container) => {
                    ensure!(listed.len() == 1, "{containers}");
                    ensure!(["running", "exited"].iter().any(|status| container["status"] == *status), "{container}");
                    whole += 1;
                }
                None => none += 1,
            }
            until(|| Ok(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be"))
                .with_context(|| format!("killed after {events} events: {containers}"))?;
            if !listed.is_empty() {
                net.portlane(&["rm", "-f", "k"])?;
            }
            if seen == "ended" {
                ensure!(none > 0 && whole > 0, "{none} times none and {whole} times whole: it is not killed in time");
                return Ok(());
            }
        }
        anyhow::bail!("a run has more than {MOST_EVENTS} events")
    })
}

#[test]
fn the_socket_is_for_root_and_its_group_and_goes_with_the_daemon_but_not_with_another() -> Result<()> {
    test(|net| {
        let mut daemon = net.daemon()?;
        let socket = net.daemon_socket();
        let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
        ensure!(mode == 0o660, "its mode is {mode:o}");
        let said = net.daemon_refused()?;
        ensure!(said.contains("already"), "{said}");
        daemon.portlane(&["ps"]).context("the first one serves on")?;
        daemon.signal(Signal::SIGTERM)?;
        daemon.tells("STOPPING=1")?;
        daemon.ends()?;
        ensure!(!socket.exists(), "the socket is left");
        let said = net.refused(&["--host", &net.daemon_address(), "ps"])?;
        ensure!(said.contains("no daemon answers") && said.lines().count() == 1, "{said}");

        net.daemon()?.crash()?;
        ensure!(socket.exists(), "a killed daemon cannot remove its socket");
        let daemon = net.daemon().context("in the place of a killed one")?;
        daemon.portlane(&["ps"])?;
        drop(daemon);
        fs::write(&socket, "mine")?;
        let said = net.daemon_refused()?;
        ensure!(said.contains("is no socket") && fs::read(&socket)? == b"mine", "{said}");
        Ok(())
    })
}

#[test]
fn a_detached_container_that_ends_lets_go_of_its_port_at_once() -> Result<()> {
    test(|net| {
        let daemon = net.daemon()?;
        let gate = net.file("gate");
        let gate = gate.to_string_lossy();
        net.host().run(&["mkfifo", &gate])?;
        let wait = format!("read word < {gate}; exit 7");
        let run = ["run", "-d", "-p", "8080:80"];
        // One is this test's child by way of a command, one the daemon's.
        net.portlane(&[&run[..], &["--name", "direct", "--", "sh", "-c", &wait]].concat())?;
        ends(net, &gate)?;
        daemon.portlane(&[&run[..], &["--name", "asked", "--", "sh", "-c", &wait]].concat())?;
        ends(net, &gate)?;
        until(|| Ok(net.json(&["inspect", "asked"])?["status"] == "exited (7)"))
            .context("its parent saw how it ended")?;
        ensure!(net.json(&["inspect", "direct"])?["status"] == "exited", "nobody saw how it ended");
        // One that ends before anybody looks.
        daemon.portlane(&["run", "-d", "--name", "quick", "--", "sh", "-c", "exit 3"])?;
        until(|| Ok(net.json(&["inspect", "quick"])?["status"] == "exited (3)"))?;
        daemon.portlane(&["run", "-d", "--rm", "--name", "gone", "--", "true"])?;
        until(|| Ok(net.status(&["inspect", "gone"])? == Some(1)))
    })
}

/// Has the container end that waits at the gate: without any command, its port and namespace are gone soon.
fn ends(net: &Topology, gate: &str) -> Result<()> {
    ensure!(!net.dump("pl_publish4")?.is_empty(), "the port is not published");
    net.host().run(&["sh", "-c", &format!("echo go > {gate}")])?;
    until(|| Ok(net.dump("pl_publish4")?.is_empty() && net.dump("pl_endpoint4")?.is_empty()))
}

#[test]
fn reload_puts_in_force_what_can_be_and_names_what_waits() -> Result<()> {
    test(|net| {
        let web = net.container("web", "", "tcp [::]:80")?;
        let other = net.container("other", "", "")?;
        other.inside().ask("tcp", at(web.address(Family::V4), 80))?;
        net.rewrite_daemon_json(r#"{"icc": false, "mtu": 1400, "portlane": {"timeouts": {"udp": 60}}}"#)?;
        let said = net.json(&["reload"])?;
        ensure!(said["in_force"] == json!(["icc", "timeouts"]), "{said}");
        ensure!(
            said["waiting"][0]["key"] == "mtu" && said["waiting"].as_array().is_some_and(|l| l.len() == 1),
            "{said}"
        );
        other.inside().no_answer("tcp", at(web.address(Family::V4), 80))?;

        let daemon = net.daemon()?;
        net.rewrite_daemon_json(r#"{"icc": true, "mtu": 1400}"#)?;
        daemon.signal(Signal::SIGHUP)?;
        until(|| Ok(net.json(&["network", "inspect", "portlane0"])?["icc"] == true))?;
        other.inside().ask("tcp", at(web.address(Family::V4), 80))?;
        let said = daemon.portlane(&["reload"])?;
        ensure!(said.starts_with("in force: nothing new\nwaits: mtu: "), "{said}");
        net.rewrite_daemon_json(r#"{"mtu": 1400, "hosts": ["tcp://192.0.2.1:2376"], "tlsverify": true}"#)?;
        let said = daemon.portlane(&["reload"])?;
        ensure!(said.contains("waits: hosts: ") && said.contains("waits: tlsverify: "), "{said}");
        // What makes no sense is named, and changes nothing.
        net.rewrite_daemon_json(r#"{"icc": "perhaps"}"#)?;
        let said = daemon.refused(&["reload"])?;
        ensure!(said.contains("`icc`") && said.contains("true or false"), "{said}");
        daemon.signal(Signal::SIGHUP)?;
        net.rewrite_daemon_json("{}")?;
        ensure!(daemon.portlane(&["network", "ls"])?.contains("portlane0"), "the daemon serves on");
        Ok(())
    })
}

#[test]
fn reload_refuses_what_no_container_could_start_under_and_changes_nothing() -> Result<()> {
    test_with("{}", |net| {
        net.portlane(&["reload"])?;
        let before = net.json(&["network", "ls"])?;
        for (text, words) in [
            (r#"{"mtu": 100000}"#, "line 1: `mtu` is 100000"),
            (r#"{"mtu": 0}"#, "`mtu` is 0 and must be a number of bytes from 1280"),
            (r#"{"mtu": 1000}"#, "IPv6, which the default network has unless `ipv6` is false"),
            (r#"{"bip": "10.9.0.0/31"}"#, "`bip` is 10.9.0.0/31"),
            // Nobody named the subnet, but it is known which one it would be.
            (r#"{"default-gateway": "9.9.9.9"}"#, "9.9.9.9"),
            (r#"{"bip": "192.0.2.9/23"}"#, "192.0.2.0/23"),
        ] {
            net.rewrite_daemon_json(text)?;
            let said = net.refused(&["reload"])?;
            ensure!(said.contains(words) && said.lines().count() == 1, "{text}: {said}");
            net.rewrite_daemon_json("{}")?;
            ensure!(net.json(&["reload"])?["in_force"] == json!([]), "{text} came in force");
            ensure!(net.json(&["network", "ls"])? == before, "{text} changed something");
        }
        let said = net.refused(&["network", "create", "--ipv6", "-o", "mtu=1000", "n"])?;
        ensure!(said.contains("a network with IPv6 cannot have an MTU of 1000"), "{said}");
        net.rewrite_daemon_json(r#"{"mtu": 1400}"#)?;
        ensure!(net.json(&["reload"])?["in_force"] == json!(["mtu"]), "what is right does not come in force");
        net.portlane(&["run", "--rm", "--", "true"]).map(drop)
    })
}

#[test]
fn reload_names_what_new_containers_are_told_and_what_is_no_longer_asked_for() -> Result<()> {
    test_with(r#"{"bip": "10.9.0.1/24", "mtu": 1400, "dns": ["192.0.2.53"]}"#, |net| {
        let _web = net.container("web", "", "")?;
        let resolver =
            r#"{"dns": ["192.0.2.54"], "dns-search": ["example.org"], "dns-opts": ["ndots:3"], "icc": false}"#;
        net.rewrite_daemon_json(resolver)?;
        let said = net.json(&["reload"])?;
        ensure!(said["in_force"] == json!(["dns", "dns-opts", "dns-search", "icc"]), "{said}");
        let waiting: Vec<_> = said["waiting"].as_array().context("no list")?.iter().map(|row| &row["key"]).collect();
        ensure!(waiting == ["bip", "mtu"], "{said}");
        let told = net.portlane(&["run", "--rm", "--", "cat", "/etc/resolv.conf"])?;
        for line in ["nameserver 192.0.2.54", "search example.org", "options ndots:3"] {
            ensure!(told.lines().any(|told| told == line), "no `{line}`: {told}");
        }
        ensure!(net.portlane(&["run", "--rm", "--", "cat", "/sys/class/net/eth0/mtu"])? == "1400", "it did not wait");
        net.portlane(&["rm", "-f", "web"])?;
        ensure!(net.portlane(&["reload"])? == "in force: nothing new", "what waited for the network is there");
        ensure!(net.portlane(&["run", "--rm", "--", "cat", "/sys/class/net/eth0/mtu"])? == "1500", "the way out's");
        Ok(())
    })
}

#[test]
fn the_daemon_opens_as_many_files_as_it_may_and_its_containers_get_the_limits_it_began_with() -> Result<()> {
    test(|net| {
        let _daemon = net.daemon_by(&["prlimit", "--nofile=256:4096"])?;
        let (address, socket) = (net.daemon_address(), net.daemon_socket());
        until(|| Ok(net.status(&["--host", &address, "ps"])? == Some(0)))?;
        let listener = net.host().run(&["ss", "-Hxlp", "src", &socket.to_string_lossy()])?;
        let pid = listener.split("pid=").nth(1).and_then(|rest| rest.split(',').next());
        let pid = pid.with_context(|| format!("no process: {listener}"))?;
        let limits =
            |pid: &str| net.host().run(&["prlimit", "--pid", pid, "--nofile", "--noheadings", "-o", "SOFT,HARD"]);
        ensure!(limits(pid)?.split_whitespace().eq(["4096", "4096"]), "{}", limits(pid)?);
        net.portlane(&["--host", &address, "run", "-d", "--name", "web", "--", "sleep", "600"])?;
        let pid = net.json(&["inspect", "web"])?["pid"].to_string();
        ensure!(limits(&pid)?.split_whitespace().eq(["256", "4096"]), "in a container: {}", limits(&pid)?);
        Ok(())
    })
}

#[test]
fn uninstall_takes_the_daemon_away_too() -> Result<()> {
    test(|net| {
        let mut daemon = net.daemon()?;
        let _web = net.container("web", "-p 8080:80", "")?;
        net.portlane(&["uninstall", "--force"])?;
        daemon.ends()?;
        ensure!(!net.state().exists(), "{} is left", net.state().display());
        ensure!(!net.daemon_socket().exists(), "the socket is left");
        Ok(())
    })
}
