//! Many containers on a host: a command that is about one looks at few of the others, and loses track of none that matters to it.
#![cfg(feature = "root")]

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Topology, ip, test, until};

/// More than a command asks the processes of, and enough that the others are looked at on a thread.
const MANY: usize = 70;

fn many(net: &Topology) -> Result<()> {
    (0..MANY).try_for_each(|number| started(net, &format!("c{number}"), &[]))
}

fn started(net: &Topology, name: &str, options: &[&str]) -> Result<()> {
    net.portlane(&[&["run", "-d", "--name", name], options, &["--", "sleep", "600"]].concat()).map(drop)
}

#[test]
fn what_somebody_took_from_one_of_many_is_back_after_the_next_command_about_another() -> Result<()> {
    test(|net| {
        many(net)?;
        let nothing = net.portlane(&["repair", "--dry-run"])?;
        let veth = net.json(&["inspect", "c3"])?["veth"].as_str().context("no veth")?.to_owned();
        net.host().run(&["ip", "link", "del", &veth])?;
        ensure!(net.portlane(&["repair", "--dry-run"])? != nothing, "{veth} is not missed");
        started(net, "next", &["-p", "8080:80"])?;
        ensure!(net.portlane(&["repair", "--dry-run"])? == nothing, "{veth} is not back");
        net.host().run(&["ip", "link", "set", &veth, "nomaster"])?;
        ip(&format!("netns del {}", net.json(&["inspect", "c4"])?["netns"].as_str().context("no netns")?))?;
        net.portlane(&["publish", "next", "8081:81"])?;
        let plan = net.portlane(&["repair", "--dry-run"])?;
        ensure!(plan == nothing, "{plan}");
        Ok(())
    })
}

#[test]
fn one_of_many_that_has_ended_is_no_target_for_who_depends_on_it() -> Result<()> {
    test(|net| {
        many(net)?;
        let commands: [&[&str]; 3] = [
            &["run", "-d", "--name", "next", "--link", "c1:x", "--", "sleep", "600"],
            &["run", "-d", "--name", "next", "--network", "container:c2", "--", "sleep", "600"],
            &["publish", "c3", "8080:80"],
        ];
        for (command, name) in commands.into_iter().zip(["c1", "c2", "c3"]) {
            let pid = net.json(&["inspect", name])?["pid"].as_u64().context("no process")?;
            net.host().run(&["kill", "-KILL", &pid.to_string()])?;
            let stat = format!("ps -o stat= -p {pid} || true");
            until(|| {
                let stat = net.host().run(&["sh", "-c", &stat])?;
                Ok(stat.is_empty() || stat.starts_with('Z'))
            })?;
            let refusal = net.refused(command)?;
            ensure!(refusal.contains(name), "{refusal}");
            ensure!(net.json(&["inspect", name])?["status"] == "exited", "{name} has ended");
        }
        Ok(())
    })
}
