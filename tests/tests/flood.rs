//! Many conversations that nobody means: a flood from outside, and a container that opens all it can.
#![cfg(feature = "root")]

use std::{net::IpAddr, thread};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Answer, Conversation, Family, PROTOS, Place, Topology, at, both, test_with, until};

/// A small table: of confirmed conversations, and of others.
const SMALL: &str = r#"{"portlane": {"flows": 256}}"#;
/// The same with shares, and conversations that are soon over.
const SHARED: &str = r#"{"portlane": {"flows": 256, "flow-share": 64, "timeouts": {"udp-unanswered": 2}}}"#;
/// A hundred times the table, in so many parts.
const FLOOD: u32 = 25_600;
const ROUNDS: u32 = 4;
/// How often a client asks whose datagrams may meet a full buffer, or whose segments are late because others are sent again.
const TRIES: usize = 20;

#[test]
fn a_flood_of_forged_syns_hurts_no_established_connection_and_keeps_no_client_out() -> Result<()> {
    flood("tcp")
}

#[test]
fn a_flood_of_forged_datagrams_hurts_no_established_connection_and_keeps_no_client_out() -> Result<()> {
    flood("udp")
}

#[test]
fn a_container_cannot_use_up_the_flows_of_others() -> Result<()> {
    test_with(SHARED, |net| {
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let hog = net.container("hog", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        let other = net.container("other", "-p 8081:80 -p 8081:80/udp", "tcp [::]:80 udp [::]:80")?;
        outside_is_the_router(net)?;
        both(|family| {
            let before = net.counted("flow-share")?;
            hog.inside().script("many.py", &[&family.far().to_string(), "20000", "300"])?;
            let refused = net.counted("flow-share")? - before;
            ensure!(refused >= 300 - 64, "only {refused} of 300 conversations were refused, with a share of 64");
            for proto in PROTOS {
                served(&other.inside(), proto, family.outside(), 9000).context("the other container")?;
                for (port, name) in [(8080, "hog"), (8081, "other")] {
                    let answer = served(&net.outside(), proto, family.host(), port).context(name)?;
                    ensure!(answer.by == name, "{answer:?}");
                }
            }
            // Its own conversations come to their end, and then it has its share again.
            for proto in PROTOS {
                until(|| Ok(hog.inside().ask(proto, at(family.outside(), 9000)).is_ok())).context(proto)?;
            }
            Ok(())
        })
    })
}

#[test]
fn a_container_that_has_served_more_connections_than_its_share_still_calls_out() -> Result<()> {
    test_with(SHARED, |net| {
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let web = net.container("web", "-p 8080:80", "tcp [::]:80")?;
        both(|family| {
            let served = |ending| {
                net.outside().script("clients.py", &[&family.host().to_string(), "8080", "200", ending]).map(drop)
            };
            let before = net.counted("flow-share")?;
            served("close")?;
            for proto in PROTOS {
                web.inside().ask(proto, at(family.outside(), 9000)).with_context(|| format!("closed, {proto}"))?;
            }
            let refused = net.counted("flow-share")? - before;
            ensure!(refused == 0, "{refused} packets were refused");
            // A reset may be forged, and is believed when nobody has talked for a while.
            served("reset")?;
            for proto in PROTOS {
                until(|| Ok(web.inside().ask(proto, at(family.outside(), 9000)).is_ok()))
                    .with_context(|| format!("reset, {proto}"))?;
            }
            Ok(())
        })
    })
}

fn flood(proto: &str) -> Result<()> {
    test_with(SMALL, |net| {
        let web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        let neighbour = net.container("neighbour", "", "")?;
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        outside_is_the_router(net)?;
        both(|family| {
            let (host, outside) = (at(family.host(), 8080), at(family.outside(), 9000));
            let mut talks = Vec::new();
            for proto in PROTOS {
                talks.push(net.outside().converse(proto, host, &[])?);
                talks.push(neighbour.inside().converse(proto, outside, &[])?);
            }
            talks.iter_mut().try_for_each(goes_on)?;
            for round in 0..ROUNDS {
                // Over TCP: what is lost on the way is sent again.
                during_flood(net, family, proto, round, &mut talks[..2]).with_context(|| format!("round {round}"))?;
                for (number, talk) in talks.iter_mut().enumerate() {
                    goes_on(talk).with_context(|| format!("talk {number} after round {round}"))?;
                }
                for proto in PROTOS {
                    let after = || format!("a new client after round {round}");
                    served(&net.outside(), proto, family.host(), 8080).with_context(after)?;
                    // Also of the container whose port is flooded: what it answers late takes nothing from its share.
                    for container in [&neighbour, &web] {
                        served(&container.inside(), proto, family.outside(), 9000).with_context(after)?;
                    }
                }
            }
            Ok(())
        })
    })
}

/// A flood while two conversations go on.
fn during_flood(net: &Topology, family: Family, proto: &str, round: u32, talks: &mut [Conversation]) -> Result<()> {
    let (address, count, seed) = (family.host().to_string(), (FLOOD / ROUNDS).to_string(), round.to_string());
    thread::scope(|scope| {
        let flood = scope.spawn(|| net.outside().script("flood.py", &[proto, &address, "8080", &count, &seed]));
        let mut rounds = 0;
        while !flood.is_finished() || rounds == 0 {
            talks.iter_mut().try_for_each(goes_on)?;
            rounds += 1;
        }
        let sent = flood.join().expect("no thread panics")?;
        ensure!(sent == count, "{sent} of {count} were sent");
        Ok(())
    })
}

/// A conversation is what it was. What the flood has left in the server's buffer, or in the kernel's queues, may push out
/// the question or the answer, until the server has read it: that is no matter of translation, and who asks again is heard.
fn goes_on(talk: &mut Conversation) -> Result<()> {
    for _ in 1..TRIES {
        if let Ok(answer) = talk.again() {
            let first = talk.first()?;
            ensure!(answer == *first, "{answer:?} instead of {first:?}");
            return Ok(());
        }
    }
    talk.goes_on()
}

/// What a new client gets, which asks again as long as the server's buffer is full of what came before.
fn served(place: &Place<'_>, proto: &str, address: IpAddr, port: u16) -> Result<Answer> {
    let options = ["--timeout-ms", if proto == "udp" { "500" } else { "5000" }];
    let mut answer = place.ask_with(proto, at(address, port), &options);
    for _ in 1..TRIES {
        if answer.is_ok() || proto == "tcp" {
            break;
        }
        answer = place.ask_with(proto, at(address, port), &options);
    }
    answer.with_context(|| format!("{proto} {}", at(address, port)))
}

/// The machine outside is the router to everybody, and drops what it gets for others.
fn outside_is_the_router(net: &Topology) -> Result<()> {
    for family in Family::BOTH {
        net.host().run(&["ip", "route", "add", "default", "via", &family.outside().to_string()])?;
    }
    Ok(())
}
