//! What a conversation has learned of its way out ages: the way may change under it.
#![cfg(feature = "root")]

use anyhow::Result;
use portlane_tests::topology::{Dialog, Topology, at, both, either_way, ip, test, until};

/// Bytes of the uplink's MTU, after 1500.
const LESS: u16 = 1300;

#[test]
fn a_conversation_goes_on_when_the_next_hop_gets_another_mac() -> Result<()> {
    after_another_mac("tcp", |client, server| {
        // What is lost until the next hop is asked for again, TCP says once more.
        client.expect("say after", "said")?;
        server.expect("hear", "after")?;
        server.expect("say answer", "said")?;
        client.expect("hear", "answer")
    })
}

#[test]
fn an_answer_within_the_second_of_its_question_finds_the_next_hop_that_got_another_mac() -> Result<()> {
    after_another_mac("udp", |client, server| {
        until(|| {
            client.say("say after")?;
            // Questions are not lost: whoever asks from outside knows the way, and a container's are asked anew.
            Ok(server.say("quiet")? == "after" && {
                server.say("say answer")?;
                client.say("quiet")? == "answer"
            })
        })
    })
}

/// What becomes of a conversation, by either way, over either family, once the machine outside has another MAC address.
fn after_another_mac(proto: &str, mut check: impl FnMut(&mut Dialog, &mut Dialog) -> Result<()>) -> Result<()> {
    let mut cards = 0;
    either_way(&format!("9000/{proto}"), |net, way| {
        both(|family| {
            let mut server = way.server.dialog("end.py", &[proto, "listen", "9000"])?;
            let mut client = way.client.calls(proto, way.at(family, 9000))?;
            client.expect("say before", "said")?;
            server.expect("hear", "before")?;
            server.expect("say answer", "said")?;
            client.expect("hear", "answer")?;
            cards += 1;
            replace_card(net, cards)?;
            check(&mut client, &mut server)
        })
    })
}

/// The machine outside gets another MAC address, and tells its neighbours.
fn replace_card(net: &Topology, number: u8) -> Result<()> {
    let tell = "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify; echo 1 > /proc/sys/net/ipv6/conf/eth0/ndisc_notify";
    net.outside().run(&["sh", "-c", tell])?;
    ip(&format!("-n {} link set eth0 address 02:00:5e:10:00:{number:02x}", net.outside_netns()))
}

#[test]
fn a_conversation_is_told_when_the_uplink_carries_less_than_before() -> Result<()> {
    test(|net| {
        let client = net.container("client", "", "")?;
        both(|family| {
            net.host().set_mtu("up0", 1500)?;
            net.outside().set_mtu("eth0", 1500)?;
            let mut server = net.outside().dialog("end.py", &["udp", "listen", "9000"])?;
            let mut client = client.inside().calls("udp", at(family.outside(), 9000))?;
            let word = "x".repeat(1400);
            client.expect(&format!("say {word}"), "said")?;
            server.expect("hear", &word)?;
            net.host().set_mtu("up0", LESS)?;
            net.outside().set_mtu("eth0", LESS)?;
            // What is lost tells the container's stack, which then cuts the next ones up.
            until(|| {
                client.say(&format!("say {word}"))?;
                Ok(server.say("quiet")? == word)
            })
        })
    })
}
