//! What Docker's users know of its networks and expect here: docs/docker-behaviour.md says which test shows what.
#![cfg(feature = "root")]

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Container, Family, Topology, at, ip, test, test_with, until};

/// Without IPv6, as the documents have it that this was taken from.
const IPV4_ONLY: &str = r#"{"ipv6": false}"#;

/// What a command prints in a container of its own, which is started with these options.
fn alone(net: &Topology, options: &str, command: &str) -> Result<String> {
    let options: Vec<&str> = options.split_whitespace().collect();
    let command: Vec<&str> = command.split_whitespace().collect();
    net.portlane(&[&["run", "--rm"], &options[..], &["--"], &command].concat())
}

/// What a command prints in the container.
fn inside(container: &Container<'_>, command: &str) -> Result<String> {
    container.inside().run(&command.split_whitespace().collect::<Vec<_>>())
}

/// The names of the interfaces that `ip -br link` lists.
fn interfaces(listed: &str) -> Vec<&str> {
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.map(|name| name.split('@').next().unwrap_or(name)).collect()
}

#[test]
fn a_container_has_eth0_and_lo_and_the_bridge_lists_the_other_end_as_a_veth() -> Result<()> {
    test(|net| {
        let (one, two) = (net.container("one", "", "")?, net.container("two", "", "")?);
        for container in [&one, &two] {
            let listed = inside(container, "ip -br link")?;
            ensure!(interfaces(&listed) == ["lo", "eth0"], "{listed}");
            // As `brctl show` and `bridge link` do; the number is that of the other end.
            let other_end = inside(container, "cat /sys/class/net/eth0/iflink")?;
            let ports = net.host().run(&["bridge", "link", "show"])?;
            let port = ports.lines().find(|line| line.starts_with(&format!("{other_end}: veth")));
            let port = port.with_context(|| format!("the bridge has no port {other_end}: {ports}"))?;
            ensure!(port.contains(" master portlane0 "), "{port}");
        }
        let gateway = inside(&one, "ip -4 route show default")?;
        let bridge = net.host().run(&["ip", "-4", "-br", "addr", "show", "dev", "portlane0"])?;
        let address = gateway.split_whitespace().nth(2).context("no default gateway")?;
        ensure!(bridge.contains(&format!(" {address}/")), "the gateway {address} is not the bridge's own: {bridge}");
        Ok(())
    })
}

#[test]
fn named_namespaces_are_seen_with_host_networking_and_are_nobody_elses_mounts() -> Result<()> {
    test(|net| {
        let web = net.container("web", "", "")?;
        let mounts = |options: &str| alone(net, options, "cat /proc/self/mounts");
        let held = format!(" /run/netns/{} ", web.field("netns"));
        ensure!(mounts("--network host")?.contains(&held), "who shares the host's network does not see its namespaces");
        for options in ["", "--network none", "--network container:web"] {
            let listed = mounts(options)?;
            ensure!(!listed.contains("/run/netns"), "with `{options}` it holds other containers' namespaces: {listed}");
        }
        Ok(())
    })
}

#[test]
fn with_host_networking_ip_a_shows_the_hosts_and_a_server_is_at_the_hosts_address_and_port() -> Result<()> {
    test(|net| {
        let listed = alone(net, "--network host", "ip addr")?;
        ensure!(listed == net.host().run(&["ip", "addr"])?, "not the host's: {listed}");
        let serve = ["run", "-d", "--network", "host", "--", "python3", "-m", "http.server", "8000", "--bind", "::"];
        net.portlane(&serve)?;
        until(|| Ok(net.outside().run(&["curl", "-sf", "http://192.0.2.1:8000/"]).is_ok()))
    })
}

#[test]
fn into_a_closed_container_its_owner_puts_an_interface_by_hand() -> Result<()> {
    test(|net| {
        let closed = alone(net, "--network none", "ip -br link")?;
        ensure!(interfaces(&closed) == ["lo"], "{closed}");
        net.portlane(&["run", "-d", "--name", "closed", "--network", "none", "--", "sleep", "600"])?;
        let netns = net.json(&["inspect", "closed"])?["netns"].as_str().context("no namespace")?.to_owned();
        // A cable to the machine outside, as if it were plugged into the physical network.
        let outside = net.outside_netns();
        for step in [
            format!("-n {netns} link add eth0 type veth peer name cable netns {outside}"),
            format!("-n {netns} addr add 10.0.0.1/24 dev eth0"),
            format!("-n {netns} link set eth0 up"),
            format!("-n {outside} addr add 10.0.0.2/24 dev cable"),
            format!("-n {outside} link set cable up"),
        ] {
            ip(&step)?;
        }
        net.portlane(&["exec", "closed", "--", "ping", "-c1", "-W5", "10.0.0.2"])?;
        // What is not portlane's is left alone.
        ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "it would be taken away");
        Ok(())
    })
}

#[test]
fn a_joined_container_shares_address_ports_and_loopback_and_nothing_else() -> Result<()> {
    test(|net| {
        let web = net.container("web", "--hostname web1", "tcp [::]:80")?;
        let listed = alone(net, "--network container:web", "ss -Htln")?;
        ensure!(listed.contains("*:80 "), "the web server does not show: {listed}");
        let serve = ["run", "-d", "--network", "container:web", "--", "python3", "-m", "http.server", "81"];
        net.portlane(&[&serve[..], &["--bind", "127.0.0.1"]].concat())?;
        until(|| Ok(inside(&web, "curl -sf http://127.0.0.1:81/").is_ok())).context("by the first one's loopback")?;
        let peer = net.peer();
        let (code, said) =
            net.said(&["run", "--rm", "--network", "container:web", "--", peer, "bind", "tcp", "[::]:80"])?;
        ensure!(code != Some(0) && said.contains("in use"), "two listen on one port: {code:?}: {said}");
        for (kind, shared) in [("net", true), ("uts", false), ("mnt", false)] {
            let link = format!("readlink /proc/self/ns/{kind}");
            let same = inside(&web, &link)? == alone(net, "--network container:web", &link)?;
            ensure!(same == shared, "the {kind} namespace is {}", if same { "shared" } else { "its own" });
        }
        Ok(())
    })
}

#[test]
fn a_namespace_lives_until_the_last_container_in_it_leaves_however_the_others_leave() -> Result<()> {
    test(|net| {
        let join = |name: &str, to: &str, command: &[&str]| {
            let network = format!("container:{to}");
            net.portlane(&[&["run", "-d", "--name", name, "--network", &network, "--"], command].concat()).map(drop)
        };
        let runs = |name: &str| -> Result<bool> { Ok(net.json(&["inspect", name])?["status"] == "running") };
        let sleep = ["sleep", "600"];
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        let serves = || net.outside().ask("tcp", at(Family::V4.host(), 8080)).map(drop);
        let leaves: [&[&[&str]]; 3] =
            [&[&["rm", "-f", "side"]], &[&["stop", "-t", "0", "side"], &["rm", "side"]], &[&["rm", "side"]]];
        for (leave, command) in leaves.into_iter().zip([&sleep[..], &sleep, &["true"]]) {
            join("side", "web", command)?;
            until(|| Ok(command == sleep || !runs("side")?)).context("`true` does not end")?;
            leave.iter().try_for_each(|words| net.portlane(words).map(drop))?;
            serves().with_context(|| format!("after {leave:?} of one that shares its namespace"))?;
        }
        net.portlane(&["run", "--network", "container:web", "--", "true"])?;
        serves().context("after `run` of one that shares its namespace and ends")?;
        // The one that it began with may be the first to go.
        let namespaces = || net.host().run(&["ls", "/run/netns"]);
        join("second", "web", &sleep)?;
        join("third", "second", &sleep)?;
        let netns = web.field("netns");
        net.portlane(&["rm", "-f", "web"])?;
        net.portlane(&["stop", "-t", "0", "second"])?;
        net.portlane(&["rm", "second"])?;
        ensure!(runs("third")? && namespaces()?.contains(&netns), "the last one is left without its namespace");
        net.portlane(&["rm", "-f", "third"])?;
        ensure!(!namespaces()?.contains(&netns), "the namespace stays");
        ensure!(net.portlane(&["repair", "--dry-run"])? == "everything is as it must be", "there is something left");
        Ok(())
    })
}

#[test]
fn the_four_ways_to_publish_are_shown_by_port_and_reached_from_outside() -> Result<()> {
    test_with(IPV4_ONLY, |net| {
        let other = Ipv4Addr::new(10, 10, 101, 105);
        net.host().run(&["ip", "addr", "add", "10.10.101.105/32", "dev", "up0"])?;
        net.outside().run(&["ip", "route", "add", "10.10.101.105", "via", &Family::V4.host().to_string()])?;
        let every = Ipv4Addr::UNSPECIFIED;
        for (name, publish, address, port) in [
            ("dynamic", "80", every, None),
            ("fixed", "10080:80", every, Some(10_080)),
            ("dynamic-there", "10.10.101.105::80", other, None),
            ("fixed-there", "10.10.101.105:10081:80", other, Some(10_081)),
        ] {
            let _web = net.container(name, &format!("-p {publish}"), "tcp 0.0.0.0:80")?;
            let shown = net.portlane(&["port", name])?;
            let chosen = shown.strip_prefix(&format!("80/tcp -> {address}:")).with_context(|| shown.clone())?;
            let chosen: u16 = chosen.parse().with_context(|| shown.clone())?;
            ensure!(port.is_none_or(|port| port == chosen), "{publish}: {shown}");
            let hosts: &[IpAddr] = if address == every { &[Family::V4.host(), other.into()] } else { &[other.into()] };
            for host in hosts {
                let answer = net.outside().ask("tcp", at(*host, chosen)).context(publish)?;
                ensure!(answer.by == name, "{answer:?}");
            }
            if address == other {
                net.outside().no_answer("tcp", at(Family::V4.host(), chosen)).context(publish)?;
            }
        }
        Ok(())
    })
}

#[test]
fn from_outside_ping_shows_the_host_and_telnet_the_published_service() -> Result<()> {
    test(|net| {
        let _web = net.container("web", "-p 10080:80", "")?;
        net.portlane(&["run", "-d", "--network", "container:web", "--", "python3", "-m", "http.server", "80"])?;
        net.outside().run(&["ping", "-c1", "-W5", "192.0.2.1"])?;
        let telnet = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | curl -s telnet://192.0.2.1:10080";
        until(|| Ok(net.outside().run(&["sh", "-c", telnet]).is_ok_and(|said| said.starts_with("HTTP/1.0 200 OK"))))?;
        let closed = net.outside().run(&["curl", "-s", "telnet://192.0.2.1:10081"]);
        ensure!(closed.is_err(), "a port that nobody published takes connections");
        Ok(())
    })
}

#[test]
fn ip_netns_lists_a_container_and_enters_it() -> Result<()> {
    test(|net| {
        let web = net.container("web", "", "tcp [::]:80")?;
        let netns = web.field("netns");
        let listed = net.host().run(&["ip", "netns", "list"])?;
        ensure!(listed.lines().any(|line| line.split_whitespace().next() == Some(&netns)), "no {netns}: {listed}");
        let address =
            net.host().run(&["ip", "netns", "exec", &netns, "ip", "-4", "-br", "addr", "show", "dev", "eth0"])?;
        ensure!(address.contains(&format!(" {}/", web.address(Family::V4))), "{address}");
        net.host().run(&["ip", "netns", "exec", &netns, "ping", "-c1", "-W5", "127.0.0.1"]).map(drop)
    })
}

#[test]
fn a_container_is_called_by_its_short_id_unless_it_is_given_a_name() -> Result<()> {
    test(|net| {
        let plain = net.container("plain", "", "")?;
        let short = &plain.field("id")[..12];
        ensure!(inside(&plain, "hostname")? == short, "not its short identifier");
        ensure!(inside(&plain, "cat /etc/hosts")?.ends_with(&format!("\t{short}")), "/etc/hosts says otherwise");
        ensure!(alone(net, "--hostname w1", "hostname")? == "w1", "not the one that was asked for");
        Ok(())
    })
}

#[test]
fn what_scripts_for_docker_ask_is_answered() -> Result<()> {
    test(|net| {
        net.portlane(&["run", "-d", "--name", "runs", "-p", "0:80", "--", "sleep", "600"])?;
        net.portlane(&["run", "--name", "ended", "-p", "8080:80", "--", "true"])?;
        let listed = net.portlane(&["ps", "-a"])?;
        let of = |name: &str| listed.lines().find(|line| line.contains(name)).context("not listed").map(str::to_owned);
        ensure!(of("runs")?.contains("->80/tcp") && of("runs")?.contains("172.17.0.2"), "{listed}");
        // It has let go of both.
        ensure!(!of("ended")?.contains("8080") && !of("ended")?.contains("172.17.0"), "{listed}");
        ensure!(net.portlane(&["ps", "-aq"])?.lines().count() == 2, "not two identifiers");
        let both = net.json(&["inspect", "runs", "ended"])?;
        ensure!(both[0]["name"] == "runs" && both[1]["name"] == "ended", "{both}");
        ensure!(net.refused(&["inspect", "runs", "nobody"])?.contains("nobody"), "an unknown one");
        ensure!(net.portlane(&["network", "ls", "-q"])?.trim() == "portlane0", "not its name alone");
        Ok(())
    })
}

#[test]
fn hosts_and_resolv_conf_are_what_docker_writes_line_by_line() -> Result<()> {
    test_with(IPV4_ONLY, |net| {
        let options = "--hostname w1 --dns 202.106.0.20 --add-host docker01:172.17.0.1";
        let hosts = alone(net, options, "cat /etc/hosts")?;
        let lines: Vec<String> =
            hosts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "127.0.0.1 localhost",
            "::1 localhost ip6-localhost ip6-loopback",
            "fe00::0 ip6-localnet",
            "ff00::0 ip6-mcastprefix",
            "ff02::1 ip6-allnodes",
            "ff02::2 ip6-allrouters",
            "172.17.0.1 docker01",
            "172.17.0.2 w1",
        ];
        ensure!(lines == expected, "{hosts}");
        let resolv = alone(net, options, "cat /etc/resolv.conf")?;
        let servers: Vec<&str> = resolv.lines().filter(|line| line.starts_with("nameserver")).collect();
        ensure!(servers == ["nameserver 202.106.0.20"], "{resolv}");
        Ok(())
    })
}

#[test]
fn the_sample_of_daemon_json_is_refused_with_its_contradiction_and_obeyed_once_it_is_mended() -> Result<()> {
    let sample = |fixed: &str, gateways: [&str; 2]| {
        format!(
            "{{ \"bip\": \"192.168.1.5/24\", \"fixed-cidr\": \"{fixed}\", \"fixed-cidr-v6\": \"2001:db8::/64\",\n\
               \"mtu\": 1500, \"default-gateway\": \"{}\", \"default-gateway-v6\": \"{}\",\n\
               \"dns\": [\"10.20.1.2\", \"10.20.1.3\"] }}",
            gateways[0], gateways[1]
        )
    };
    test_with(&sample("10.20.0.0/16", ["10.20.1.1", "2001:db8:abcd::89"]), |net| {
        let said = net.refused(&["run", "--rm", "--", "true"])?;
        let contradiction = "`fixed-cidr` is 10.20.0.0/16, outside 192.168.1.0/24, the subnet of `bip`";
        ensure!(said.contains(contradiction), "{said}");
        net.rewrite_daemon_json(&sample("192.168.1.128/25", ["192.168.1.1", "2001:db8::89"]))?;
        let boxed = net.container("box", "", "")?;
        let addresses = inside(&boxed, "ip -o addr show dev eth0")?;
        ensure!(addresses.contains(" 192.168.1.128/24 ") && addresses.contains(" 2001:db8::"), "{addresses}");
        let routes = [inside(&boxed, "ip -4 route show default")?, inside(&boxed, "ip -6 route show default")?];
        ensure!(routes[0].contains("via 192.168.1.1 ") && routes[1].contains("via 2001:db8::89 "), "{routes:?}");
        ensure!(inside(&boxed, "cat /sys/class/net/eth0/mtu")? == "1500", "its MTU");
        let resolv = inside(&boxed, "cat /etc/resolv.conf")?;
        ensure!(resolv.contains("nameserver 10.20.1.2\nnameserver 10.20.1.3"), "{resolv}");
        let bridge = net.host().run(&["ip", "-4", "-br", "addr", "show", "dev", "portlane0"])?;
        ensure!(bridge.contains(" 192.168.1.5/24"), "{bridge}");
        Ok(())
    })
}

#[test]
fn the_api_is_at_a_unix_socket_by_default_and_at_those_that_hosts_names() -> Result<()> {
    test(|net| {
        let other = net.file("docker.sock").to_string_lossy().into_owned();
        net.rewrite_daemon_json(&format!("{{\"hosts\": [\"unix://{other}\"]}}"))?;
        let _daemon = net.daemon_with(&[])?;
        for socket in ["/run/portlane.sock", &other] {
            let listed = net.host().run(&["curl", "-sf", "--unix-socket", socket, "http://localhost/containers"])?;
            ensure!(listed == "[]", "{socket}: {listed}");
        }
        Ok(())
    })
}

#[test]
fn containers_of_two_hosts_reach_each_other_by_published_ports_and_no_other_way() -> Result<()> {
    // Networks that do not overlap, so that each host could have a route to the other's containers.
    let own = |third: u8| format!(r#"{{"ipv6": false, "bip": "172.{third}.0.1/16"}}"#);
    test_with(&own(27), |here| {
        test_with(&own(28), |there| {
            let cable =
                [(here.host_netns(), "10.9.0.1", "172.28.0.0/16"), (there.host_netns(), "10.9.0.2", "172.27.0.0/16")];
            let [(one, ..), (two, ..)] = &cable;
            ip(&format!("-n {one} link add lan type veth peer name lan netns {two}"))?;
            for (netns, address, _) in &cable {
                ip(&format!("-n {netns} addr add {address}/24 dev lan"))?;
                ip(&format!("-n {netns} link set lan up"))?;
            }
            for ((netns, _, beyond), (_, next, _)) in cable.iter().zip(cable.iter().rev()) {
                ip(&format!("-n {netns} route add {beyond} via {next}"))?;
            }
            let web = here.container("web", "-p 10080:80", "tcp 0.0.0.0:80")?;
            let client = there.container("client", "", "")?;
            client.inside().no_answer("tcp", at(web.address(Family::V4), 80))?;
            client.inside().no_echo(web.address(Family::V4))?;
            let answer = client.inside().ask("tcp", at(Ipv4Addr::new(10, 9, 0, 1), 10_080))?;
            // The one host's address is all that the other sees of its container.
            ensure!(answer.by == "web" && answer.seen.ip() == Ipv4Addr::new(10, 9, 0, 2), "{answer:?}");
            Ok(())
        })
    })
}
