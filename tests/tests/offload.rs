//! Trains of datagrams, as QUIC servers send them: the kernel cuts them up as late as it can, and an interface may put
//! datagrams together again. However they pass, every datagram arrives as it was sent, and from the same address.
#![cfg(feature = "root")]

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use portlane_tests::topology::{Family, Topology, Way, at, both, either_way};

const PORTS: &str = "9000/udp";
const FROM: u16 = 40_000;
/// Datagrams of trains, but for a shorter one at the end of each.
const TRAINS: [u64; 3] = [1, 7, 43];
/// Those of all trains.
const DATAGRAMS: u64 = 1 + 7 + 43 + 3;
/// Ways to have trains cut up before they leave a machine: with checksums left to the next one, and with all sums done.
const CUT_UP: [&str; 2] = ["tx on tx-udp-segmentation off", "tx off"];

/// A train that went to a server and came back.
struct Train {
    /// The client as the server saw it.
    seen: SocketAddr,
    /// In how many pieces it came to the server, and back.
    pieces: [u64; 2],
}

#[test]
fn trains_of_datagrams_pass_whole() -> Result<()> {
    beside_server("whole", |_, way| pass(way, "whole", |_| [1, 1]))
}

#[test]
fn a_program_that_knows_of_no_trains_gets_their_datagrams() -> Result<()> {
    beside_server("single", |_, way| pass(way, "single", |datagrams| [datagrams, datagrams]))
}

#[test]
fn trains_that_the_uplink_cannot_carry_leave_as_their_datagrams() -> Result<()> {
    beside_server("whole", |net, way| {
        for words in CUT_UP {
            net.host().offload("up0", words)?;
            let leave = |datagrams| if way.published { [1, datagrams] } else { [datagrams, 1] };
            pass(way, "whole", leave).context(words)?;
        }
        Ok(())
    })
}

#[test]
fn trains_that_their_sender_cuts_up_pass_as_their_datagrams() -> Result<()> {
    beside_server("whole", |net, way| {
        for words in CUT_UP {
            senders(net, way, words)?;
            pass(way, "whole", |datagrams| [datagrams, datagrams]).context(words)?;
        }
        Ok(())
    })
}

#[test]
fn datagrams_that_an_interface_of_the_host_puts_together_pass_as_a_train() -> Result<()> {
    beside_server("whole", |net, way| {
        receivers(net, way, "gro on rx-udp-gro-forwarding on")?;
        for words in CUT_UP {
            senders(net, way, words)?;
            both(|family| {
                let trains = trains(way, family, "whole", &[1200])?;
                for end in 0..2 {
                    let pieces: u64 = trains.iter().map(|train| train.pieces[end]).sum();
                    ensure!(pieces * 4 < DATAGRAMS, "{pieces} pieces: hardly any were put together");
                }
                Ok(())
            })
            .context(words)?;
        }
        Ok(())
    })
}

#[test]
fn datagrams_that_an_interface_of_the_host_gathers_in_a_list_pass_together() -> Result<()> {
    beside_server("whole", |net, way| {
        receivers(net, way, "gro on rx-gro-list on")?;
        for words in CUT_UP {
            senders(net, way, words)?;
            both(|family| {
                let ends = [way.container.inside(), net.outside()];
                let before = [ends[0].received("eth0")?.1, ends[1].received("eth0")?.1];
                trains(way, family, "whole", &[1200])?;
                for (end, before) in ends.iter().zip(before) {
                    let packets = end.received("eth0")?.1 - before;
                    ensure!(packets * 3 < DATAGRAMS, "{packets} packets: hardly any were gathered");
                }
                Ok(())
            })
            .context(words)?;
        }
        Ok(())
    })
}

#[test]
fn a_list_of_datagrams_is_taken_apart_for_an_uplink_that_cannot_carry_it() -> Result<()> {
    beside_server("whole", |net, way| {
        receivers(net, way, "gro on rx-gro-list on")?;
        for words in CUT_UP {
            senders(net, way, words)?;
            for uplink in CUT_UP {
                net.host().offload("up0", &format!("tx-gso-list off {uplink}"))?;
                pass(way, "whole", |datagrams| [datagrams, datagrams]).with_context(|| format!("{words}, {uplink}"))?;
            }
        }
        Ok(())
    })
}

/// Runs a check either way, beside a server that receives trains like this: `whole`, or each datagram by itself.
fn beside_server(receives: &str, check: impl Fn(&Topology, &Way<'_>) -> Result<()>) -> Result<()> {
    either_way(PORTS, |net, way| {
        let _server = way.server.start_script("trains.py", &[receives, "serve", "9000"])?;
        check(net, way)
    })
}

/// Trains of small and of large datagrams come to the server and back in as many pieces as they should.
fn pass(way: &Way<'_>, receives: &str, pieces: impl Fn(u64) -> [u64; 2]) -> Result<()> {
    both(|family| {
        let sizes = [20, 1200, 1500 - family.headers()];
        let went = trains(way, family, receives, &sizes)?;
        let sent = sizes.into_iter().flat_map(|bytes| TRAINS.map(|datagrams| (bytes, datagrams)));
        for (train, (bytes, datagrams)) in went.into_iter().zip(sent) {
            let (got, wanted) = (train.pieces, pieces(datagrams + 1));
            ensure!(got == wanted, "{datagrams} datagrams of {bytes} bytes in {got:?} pieces, not in {wanted:?}");
        }
        Ok(())
    })
}

/// Sends trains of datagrams of each size, which have to come back; the server sees them come from whom it should.
fn trains(way: &Way<'_>, family: Family, receives: &str, sizes: &[usize]) -> Result<Vec<Train>> {
    let target = way.at(family, 9000);
    let mut words = vec![receives.to_owned(), "send".to_owned()];
    words.extend([target.ip().to_string(), target.port().to_string(), FROM.to_string()]);
    words.extend(sizes.iter().flat_map(|bytes| TRAINS.map(|datagrams| format!("{datagrams}x{bytes}"))));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = way.client.script("trains.py", &words)?;
    let trains: Vec<Train> = said.lines().map(Train::parse).collect::<Result<_>>()?;
    ensure!(trains.len() == TRAINS.len() * sizes.len(), "{said}");
    for train in &trains {
        ensure!(train.seen == at(way.seen(family), FROM), "the server saw {}", train.seen);
    }
    Ok(trains)
}

impl Train {
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [seen, there, back] = *words else { bail!("not about a train: {line}") };
        Ok(Self { seen: seen.parse()?, pieces: [there.parse()?, back.parse()?] })
    }
}

/// Sets what the machines at both ends do with what they send.
fn senders(net: &Topology, way: &Way<'_>, words: &str) -> Result<()> {
    net.outside().offload("eth0", words)?;
    way.container.inside().offload("eth0", words)
}

/// Sets what the host does with what it receives.
fn receivers(net: &Topology, way: &Way<'_>, words: &str) -> Result<()> {
    net.host().offload("up0", words)?;
    net.host().offload(&way.container.field("veth"), words)
}
