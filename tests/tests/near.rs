//! What processors keep of containers, so as not to look it up for each packet, is never older than the last command.
#![cfg(feature = "root")]

use anyhow::{Result, ensure};
use portlane_tests::topology::{Container, Family, at, both, test};

/// What containers serve here.
const SERVER: &str = "tcp [::]:80";
/// Calls after which every processor has had packets of it, with all likelihood.
const CALLS: u32 = 20;

#[test]
fn whoever_takes_an_address_over_is_met_there_at_once() -> Result<()> {
    test(|net| {
        let addresses = "--ip 172.17.0.9";
        let (mut web, client) = (net.container("web", addresses, SERVER)?, net.container("client", "", "")?);
        for next in ["second", "third"] {
            let met = |name: &str, web: &Container<'_>| {
                both(|family| {
                    (0..CALLS).try_for_each(|_| {
                        let answer = client.inside().ask("tcp", at(web.address(family), 80))?;
                        ensure!(answer.by == name, "{} answers where {name} has the address", answer.by);
                        Ok(())
                    })
                })
            };
            met(web.name(), &web)?;
            let same = format!("{addresses} --ip6 {}", web.address(Family::V6));
            net.portlane(&["rm", "-f", web.name()])?;
            web = net.container(next, &same, SERVER)?;
            met(next, &web)?;
        }
        Ok(())
    })
}

#[test]
fn neighbours_part_and_meet_as_soon_as_daemon_json_says_so() -> Result<()> {
    test(|net| {
        let (web, client) = (net.container("web", "", SERVER)?, net.container("client", "", "")?);
        let say = |icc: bool| -> Result<()> {
            net.rewrite_daemon_json(&format!(r#"{{"icc": {icc}}}"#))?;
            net.portlane(&["reload"]).map(drop)
        };
        for _ in 0..2 {
            both(|family| {
                let call = || client.inside().ask("tcp", at(web.address(family), 80));
                (0..CALLS).try_for_each(|_| call().map(drop))
            })?;
            say(false)?;
            both(|family| client.inside().no_answer("tcp", at(web.address(family), 80)))?;
            say(true)?;
        }
        Ok(())
    })
}
