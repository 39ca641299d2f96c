//! While programs are put on interfaces, the kernel's grace periods are expedited, unless daemon.json says otherwise. (That
//! they are turned back by whoever comes after a killed command, the tests of `crash` see.)
#![cfg(feature = "root")]

use std::{fs, time::SystemTime};

use anyhow::{Result, ensure};
use portlane_tests::topology::test;

/// The sandbox's own: a file that covers the machine's switch.
const SWITCH: &str = "/sys/kernel/rcu_expedited";

#[test]
fn grace_periods_are_expedited_for_the_programs_of_a_container_and_no_longer_unless_daemon_json_refuses() -> Result<()>
{
    test(|net| {
        for (daemon_json, expedited) in [("{}", true), (r#"{"portlane": {"expedited-rcu": false}}"#, false)] {
            net.rewrite_daemon_json(daemon_json)?;
            net.portlane(&["network", "create", "--subnet", "10.76.0.0/16", "n"])?;
            let before = turned()?;
            net.portlane(&["run", "-d", "--name", "c", "--network", "n", "sleep", "600"])?;
            ensure!((turned()? != before) == expedited, "with {daemon_json}: {before:?}, {:?}", turned()?);
            net.portlane(&["rm", "-f", "c"])?;
            net.portlane(&["network", "rm", "n"])?;
            ensure!(fs::read_to_string(SWITCH)?.trim_end() == "0", "it stays turned");
        }
        // What the administrator has turned on stays on.
        fs::write(SWITCH, "1")?;
        net.portlane(&["run", "-d", "--name", "c", "sleep", "600"])?;
        ensure!(fs::read_to_string(SWITCH)?.trim_end() == "1", "it was turned back");
        Ok(())
    })
}

/// When it was turned last.
fn turned() -> Result<SystemTime> {
    Ok(fs::metadata(SWITCH)?.modified()?)
}
