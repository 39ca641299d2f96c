//! The files that containers read about names.

use super::{add, named, state_with};
use crate::model::{
    connect::{ConnectRequest, connect},
    container::{ContainerRequest, LinkRequest, add_container},
    hosts::{hostname, hosts, name_servers, resolv_conf},
    publish::HostView,
    state::{DEFAULT_NETWORK, State, Status},
};

const LOCAL: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

#[test]
fn hosts_is_written_in_dockers_order() {
    let mut state = state_with(&["a"]);
    let db = add(&mut state, "db", "a").unwrap();
    let request = ContainerRequest {
        hostname: Some("w1".into()),
        extra_hosts: vec![("printer".into(), "192.0.2.9".parse().ok())],
        links: ["db", "store"].map(|alias| LinkRequest { target: "db".into(), alias: alias.into() }).into(),
        ..named("web", "a")
    };
    add_container(&mut state, request, &HostView::default()).unwrap();
    let short = &db[..12];
    let links = format!("10.0.0.2\tdb {short}\n10.0.0.2\tstore {short} db\n");
    let web = state.container("web").unwrap();
    assert_eq!(hosts(&state, web), format!("{LOCAL}192.0.2.9\tprinter\n{links}10.0.0.3\tw1\n"));
    assert_eq!(hostname(web), "w1\n");
    state.container_mut("db").unwrap().status = Status::Exited { code: Some(1) };
    let web = state.container("web").unwrap();
    assert_eq!(hosts(&state, web), format!("{LOCAL}192.0.2.9\tprinter\n10.0.0.3\tw1\n"));
}

#[test]
fn hosts_names_both_addresses_and_none_without_a_network() {
    let mut state = state_with(&["b6"]);
    add(&mut state, "c1", "b6").unwrap();
    add(&mut state, "n1", "none").unwrap();
    let c1 = state.container("c1").unwrap();
    let (six, name) = (c1.endpoints[0].addr6.unwrap(), c1.short_id());
    assert_eq!(hosts(&state, c1), format!("{LOCAL}10.0.0.2\t{name}\n{six}\t{name}\n"));
    assert_eq!(hosts(&state, state.container("n1").unwrap()), LOCAL);
}

#[test]
fn resolv_conf_names_servers_that_a_container_reaches() {
    let mut state = state_with(&["a", "b6"]);
    for (name, network) in [("four", "a"), ("six", "b6")] {
        add(&mut state, name, network).unwrap();
    }
    let check = |name: &str, host: &str, dns: &[&str], search: &[&str], expected: &str| {
        let mut container = state.container(name).unwrap().clone();
        container.dns = dns.iter().map(|a| a.parse().unwrap()).collect();
        container.dns_search = search.iter().map(ToString::to_string).collect();
        // As if it were the default network, where portlane answers no questions.
        container.endpoints[0].network = DEFAULT_NETWORK.to_owned();
        assert_eq!(resolv_conf(host, &state, &container), expected, "{host} {dns:?} {search:?}");
    };
    let fallback = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
    check("four", "", &[], &[], fallback);
    check("four", "nameserver 127.0.0.53\nnameserver ::1\n", &[], &[], fallback);
    check("four", "nameserver 127.0.0.53\nnameserver 192.0.2.53\n", &[], &[], "nameserver 192.0.2.53\n");
    check("four", "nameserver 2001:db8::53\n", &[], &[], fallback);
    check("six", "nameserver 2001:db8::53\n", &[], &[], "nameserver 2001:db8::53\n");
    check("six", "nameserver fe80::1%eth0\n", &[], &[], fallback);
    let host = "# by hand\nsearch example.com\nnameserver 192.0.2.53\noptions ndots:2\n";
    let kept = "# by hand\nsearch example.com\noptions ndots:2\n";
    check("four", host, &[], &[], &format!("{kept}nameserver 192.0.2.53\n"));
    check(
        "four",
        host,
        &["127.0.0.1", "2001:db8::1"],
        &[],
        &format!("{kept}nameserver 127.0.0.1\nnameserver 2001:db8::1\n"),
    );
    let rest = "# by hand\noptions ndots:2\n";
    check("four", host, &[], &["a.test", "b.test"], &format!("{rest}search a.test b.test\nnameserver 192.0.2.53\n"));
    check("four", host, &[], &["."], &format!("{rest}nameserver 192.0.2.53\n"));
}

#[test]
fn resolv_conf_begins_with_the_gateway_of_a_created_network() {
    let mut state = state_with(&["a", "b"]);
    add(&mut state, "c", "a").unwrap();
    let check = |state: &State, host: &str, expected: &str| {
        let container = state.container("c").unwrap();
        assert_eq!(resolv_conf(host, state, container), expected, "{host}");
    };
    let host = "search example.com\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n";
    let gateway = "search example.com\nnameserver 10.0.0.1\n";
    let servers = "nameserver 192.0.2.53\nnameserver 192.0.2.54\n";
    check(&state, host, &format!("{gateway}{servers}options ndots:0\n"));
    let host = "options ndots:2\nnameserver 127.0.0.53\n";
    check(&state, host, "options ndots:2\nnameserver 10.0.0.1\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    state.networks.get_mut("a").unwrap().internal = true;
    check(&state, host, "options ndots:2\nnameserver 10.0.0.1\n");
    // The way out is by the other one.
    let request = ConnectRequest::to("b");
    connect(&mut state, "c", &request, &HostView::default()).unwrap();
    check(&state, host, "options ndots:2\nnameserver 10.0.1.1\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n");
}

#[test]
fn name_servers_are_all_that_the_host_asks() {
    let check = |text: &str, expected: &[(&str, Option<&str>)]| {
        let expected: Vec<_> = expected.iter().map(|(address, zone)| (address.parse().unwrap(), *zone)).collect();
        assert_eq!(name_servers(text), expected, "{text}");
    };
    check("nameserver 127.0.0.53\noptions edns0\n", &[("127.0.0.53", None)]);
    check("nameserver fe80::1%eth0\nnameserver 192.0.2.53", &[("fe80::1", Some("eth0")), ("192.0.2.53", None)]);
    check("#nameserver 192.0.2.53\nnameserver\nnameserver x\n", &[("8.8.8.8", None), ("8.8.4.4", None)]);
}
