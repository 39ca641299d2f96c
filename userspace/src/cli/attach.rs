//! `attach`, `detach`.

use std::path;

use anyhow::{Context, Result};
use clap::Args;

use super::{Global, options::Networking, print};
use crate::request::Request;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ip netns add w1; portlane attach w1 -p 8080:80
  portlane attach --name web --network back --ip 10.20.0.9 /proc/4711/ns/net
  portlane exec w1 -- ip address
In the namespace appear eth0 (or the first of eth1, eth2… that is free there), addresses and a
default route, and lo is set up. Nothing else in it is changed, and portlane never deletes it.
It may have no default route of its own then, except on internal networks alone; `host`, `none` and
`container:NAME` are not for it. Of run's options, those about names (--hostname, --dns, --add-host)
are missing, since its /etc is its owner's: for the names of a created network, ask its gateway.
A path of a process is the namespace's only while the process lives. Once the namespace is gone,
the next command, or the daemon, lets go of its addresses and ports.")]
pub(super) struct Attach {
    /// Name [default: the namespace's, or drawn at random]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    networking: Networking,
    /// Name, as `ip netns` has it, or path
    netns: String,
}

impl Attach {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let netns = absolute(self.netns)?;
        let request = Box::new(self.networking.request(self.name));
        print::id(global, &global.ask(Request::Attach { netns, request }).await?)
    }
}

/// A path that a daemon, or a later command in another directory, finds as well.
fn absolute(netns: String) -> Result<String> {
    if !netns.contains('/') {
        return Ok(netns);
    }
    let path = path::absolute(&netns).with_context(|| format!("cannot use {netns} as a path"))?;
    path.into_os_string().into_string().ok().with_context(|| format!("the path of {netns} is no text"))
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane detach w1")]
pub(super) struct Detach {
    /// Names or identifiers
    #[arg(required = true)]
    names: Vec<String>,
}

impl Detach {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        global.ask(Request::Detach { names: self.names.clone() }).await?;
        print::names(global, self.names)
    }
}
