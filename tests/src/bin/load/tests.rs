//! Each measurement against a server in this process, over loopback.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
};

use crate::{
    arguments::{Arguments, Verb},
    measure,
    relay::Relay,
    run,
    server::Server,
};

fn serving(address: &str) -> SocketAddr {
    let server = Server::bind(address.parse().expect(address)).expect("a free port");
    let address = server.address();
    thread::spawn(move || server.answer());
    address
}

/// In front of a server of its own.
fn relaying(address: &str) -> SocketAddr {
    let relay = Relay::bind(address.parse().expect(address)).expect("a free port");
    let (from, to) = (relay.address(), serving(address));
    thread::spawn(move || relay.copy(to));
    from
}

fn arguments(words: &str) -> Arguments {
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    Arguments::parse(&words).unwrap_or_else(|error| panic!("{words:?}: {error:#}"))
}

fn figures(words: &str) -> Vec<(&'static str, f64)> {
    measure(&arguments(words)).unwrap_or_else(|error| panic!("{words}: {error:#}"))
}

#[test]
fn one_server_answers_every_measurement_over_either_family_also_behind_a_relay() {
    let addresses = ["127.0.0.1:0", "[::1]:0"].map(|address| [serving(address), relaying(address)]);
    for address in addresses.concat() {
        for (verb, names) in [
            ("rr", &["p50_ns", "p99_ns", "per_second"][..]),
            ("udp-rr", &["p50_ns", "p99_ns", "per_second"]),
            ("connections", &["per_second"]),
            ("datagrams", &["per_second", "sent_per_second"]),
            ("stream", &["bits_per_second"]),
        ] {
            let figures = figures(&format!("{verb} {address} --seconds 0.1"));
            assert_eq!(figures.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names, "{verb}");
            assert!(figures.iter().all(|(_, value)| *value > 0.0), "{verb}: {figures:?}");
        }
    }
}

#[test]
fn half_of_the_requests_are_answered_in_less_than_the_slowest_hundredth() {
    let address = serving("127.0.0.1:0");
    for verb in ["rr", "udp-rr"] {
        let figures = figures(&format!("{verb} {address} --seconds 0.1"));
        assert!(figures[0].1 <= figures[1].1, "{figures:?}");
    }
}

#[test]
fn no_more_datagrams_arrive_than_were_sent() {
    let address = serving("127.0.0.1:0");
    let figures = figures(&format!("datagrams {address} --seconds 0.1 --size 1000"));
    // Both are rates, over times that differ by the last question.
    assert!(figures[0].1 <= figures[1].1 * 1.01, "{figures:?}");
}

#[test]
fn where_nobody_listens_nobody_is_said_to_answer() {
    // Bound and let go of.
    let address = Server::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port").address();
    for verb in ["rr", "udp-rr", "connections", "datagrams", "stream"] {
        let error = measure(&arguments(&format!("{verb} {address} --seconds 0.1"))).expect_err(verb);
        assert!(error.to_string().contains(&format!("nobody answers at {address}")), "{error:#}");
    }
}

#[test]
fn who_accepts_and_says_nothing_is_given_up_on() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it listens");
    let error = measure(&arguments(&format!("rr {address} --seconds 0.1"))).expect_err("no answer");
    assert!(format!("{error:#}").contains(&format!("nobody answers at {address}: no result in")), "{error:#}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let address = serving("127.0.0.1:0");
    let error = run(&arguments(&format!("serve {address}"))).expect_err("a taken port");
    assert!(format!("{error:#}").contains(&format!("cannot listen at {address}")), "{error:#}");
}

#[test]
fn a_processor_that_is_not_there_is_named() {
    let error = run(&arguments("rr 127.0.0.1:9 --cpu 1000000")).expect_err("no such processor");
    assert!(format!("{error:#}").contains("no processor 1000000"), "{error:#}");
}

#[test]
fn a_wrong_word_is_named() {
    let read = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Arguments::parse(&words).map_err(|error| format!("{error:#}"))
    };
    assert_eq!(read("stream [fd00::1]:7000 --seconds 0.5").expect("a correct line").verb, Verb::Stream);
    for (line, part) in [
        ("rr", "a verb and ADDR:PORT"),
        ("ping 10.0.0.1:7", "`ping` is none of"),
        ("rr 10.0.0.1", "`10.0.0.1` is not like"),
        ("rr 10.0.0.1:7 --seconds", "`--seconds` lacks a value"),
        ("rr 10.0.0.1:7 --seconds -1", "--seconds -1: more than 0"),
        ("rr 10.0.0.1:7 --seconds nan", "--seconds nan: more than 0"),
        ("rr 10.0.0.1:7 --cpu x", "--cpu x: not a processor"),
        ("datagrams 10.0.0.1:7 --size 1", "--size 1: a datagram has 2 to 65507"),
        ("rr 10.0.0.1:7 --speed 1", "--speed 1: no such option"),
    ] {
        let error = read(line).expect_err(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}
