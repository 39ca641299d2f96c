//! Traffic with programs that people run: by a published port with the server in a container, and masqueraded with the
//! server outside.
#![cfg(feature = "root")]

use std::fs;

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Family, Program, Way, at, both, either_way};
use serde_json::Value;

/// What one socket of iperf3 holds, about: the kernel doubles what `-w 64K` says.
const SOCKETS: u64 = 2 * 64 * 1024;

#[test]
fn curl_fetches_a_megabyte_that_arrives_whole() -> Result<()> {
    either_way("80/tcp", |net, way| {
        let folder = net.file("www").to_string_lossy().into_owned();
        fs::create_dir_all(&folder)?;
        // 1 MiB in which no word comes twice.
        let file: Vec<u8> =
            (0..1_u32 << 18).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
        fs::write(net.file("www").join("file"), &file)?;
        let server = ["python3", "-u", "-m", "http.server", "80", "--bind", "::", "--directory", &folder];
        let _server = way.server.start(&server, "Serving HTTP")?;
        both(|family| {
            let (url, got) = (format!("http://{}/file", way.at(family, 80)), net.file("got"));
            way.client.run(&["curl", "-sSf", "--noproxy", "*", "-o", &got.to_string_lossy(), &url])?;
            ensure!(fs::read(&got)? == file, "what curl got is not what the server has");
            Ok(fs::remove_file(got)?)
        })
    })
}

#[test]
fn dig_gets_large_answers_over_udp_whole_or_in_pieces_and_over_tcp_what_it_has_no_room_for() -> Result<()> {
    either_way("53/udp 53/tcp", |_, way| {
        let _server = way.server.start_script("dns.py", &["53"])?;
        both(|family| {
            let target = way.at(family, 53);
            let (server, port) = (format!("@{}", target.ip()), target.port().to_string());
            for (bytes, room, transport) in [(1144, 1232, "(UDP)"), (4000, 4096, "(UDP)"), (4000, 1232, "(TCP)")] {
                let (name, room) = (format!("{bytes}.test"), format!("+bufsize={room}"));
                let said = way.client.run(&["dig", &server, "-p", &port, &name, "TXT", &room])?;
                let text = text_of(&said)?;
                ensure!(
                    text.len() == bytes && text.ends_with(&format!("{:07},", bytes / 8 - 1)[bytes % 8..]),
                    "{said}"
                );
                ensure!(said.contains("status: NOERROR") && said.contains(transport), "not {transport}: {said}");
                ensure!(said.contains("Truncated, retrying in TCP mode") == (transport == "(TCP)"), "{said}");
            }
            Ok(())
        })
    })
}

#[test]
fn iperf3_transfers_twenty_megabytes_over_tcp_each_way() -> Result<()> {
    either_way("5201/tcp", |_, way| {
        let _server = iperf3_server(way)?;
        both(|family| {
            let (sent, received) = iperf3(way, family, &["-n", "20000000", "-w", "64K"])?;
            // The client's end is the test's end: what sockets hold then is not counted any more.
            ensure!(sent >= 20_000_000 && received + 4 * SOCKETS >= sent, "of {sent} bytes {received} arrive");
            let (sent, received) = iperf3(way, family, &["-n", "20000000", "-R"])?;
            ensure!(received >= 20_000_000, "of {sent} bytes {received} come back");
            Ok(())
        })
    })
}

#[test]
fn iperf3s_datagrams_arrive_each_way() -> Result<()> {
    either_way("5201/tcp 5201/udp", |_, way| {
        let _server = iperf3_server(way)?;
        both(|family| {
            for direction in [&[][..], &["-R"]] {
                let options = ["-u", "-l", "1200", "-b", "50M", "-k", "1000"];
                let (sent, received) = iperf3(way, family, &[&options[..], direction].concat())?;
                // A busy machine's sockets overflow.
                ensure!(sent >= 1_200_000 && received * 10 > sent, "{direction:?}: of {sent} bytes {received} arrive");
            }
            Ok(())
        })
    })
}

#[test]
fn a_client_that_changes_its_source_port_goes_on_with_its_server() -> Result<()> {
    either_way("4433/udp", |_, way| {
        let _server = way.server.start_script("quic.py", &["serve", "4433"])?;
        both(|family| {
            let target = way.at(family, 4433);
            let (address, port) = (target.ip().to_string(), target.port().to_string());
            let seen = way.client.script("quic.py", &["ask", &address, &port, "40001", "40002"])?;
            let expected = [40_001, 40_002].map(|port| at(way.seen(family), port).to_string());
            ensure!(seen == expected.join(" "), "the server saw {seen}");
            Ok(())
        })
    })
}

fn iperf3_server(way: &Way<'_>) -> Result<Program> {
    way.server.start(&["iperf3", "-s", "--forceflush"], "Server listening")
}

/// Bytes sent and received.
fn iperf3(way: &Way<'_>, family: Family, options: &[&str]) -> Result<(u64, u64)> {
    let target = way.at(family, 5201);
    let (address, port) = (target.ip().to_string(), target.port().to_string());
    let client = ["iperf3", "-c", &address, "-p", &port, "--json"];
    let said = way.client.run(&[&client[..], options].concat()).with_context(|| format!("{options:?}"))?;
    let report: Value = serde_json::from_str(&said).with_context(|| format!("no JSON: {said}"))?;
    let bytes = |end: &str| report["end"][end]["bytes"].as_u64().with_context(|| format!("no {end}: {said}"));
    Ok((bytes("sum_sent")?, bytes("sum_received")?))
}

/// What a TXT record says in dig's answer.
fn text_of(said: &str) -> Result<String> {
    let record = said.lines().find(|line| line.contains("\tTXT\t")).with_context(|| format!("no TXT in: {said}"))?;
    Ok(record.split('"').skip(1).step_by(2).collect())
}
