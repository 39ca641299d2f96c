//! Containers on the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Family, Place, Topology, words};

/// A container that runs. It goes with its topology.
#[derive(Debug)]
pub struct Container<'t> {
    topology: &'t Topology,
    name: String,
    inspected: Value,
    addr4: Ipv4Addr,
    addr6: Option<Ipv6Addr>,
}

impl Topology {
    /// Starts a container with the options of `portlane run`, separated by spaces, and a `peer serve` in it, which tells
    /// the container's name: `tcp [::]:80 udp [::]:53`. With nothing to serve it only sleeps.
    ///
    /// # Errors
    /// `portlane run` fails, or the server in it does.
    pub fn container(&self, name: &str, options: &str, serves: &str) -> Result<Container<'_>> {
        let options: Vec<&str> = options.split_whitespace().collect();
        let run = [&["run", "-d", "--name", name], &options[..], &["--"]].concat();
        if serves.is_empty() {
            self.portlane(&[&run[..], &["sleep", "infinity"]].concat())?;
        } else {
            let ready = self.ready()?;
            let serves: Vec<&str> = serves.split_whitespace().collect();
            let path = ready.path();
            let server = [&[&self.peer[..], "serve"], &serves[..], &["--name", name, "--ready", &path]].concat();
            self.portlane(&[&run[..], &server].concat())?;
            ready.wait().with_context(|| format!("container {name}"))?;
        }
        let inspected = self.json(&["inspect", name])?;
        let text = |field: &str| inspected[field].as_str().with_context(|| format!("`inspect {name}` has no {field}"));
        Ok(Container {
            topology: self,
            name: name.to_owned(),
            addr4: text("addr4")?.parse()?,
            addr6: inspected["addr6"].as_str().map(str::parse).transpose()?,
            inspected,
        })
    }
}

impl<'t> Container<'t> {
    /// Its address. Panics if it has none in that family: the test asked for a network without IPv6.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.addr4.into(),
            Family::V6 => self.addr6.expect("the container has an IPv6 address").into(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A field of `portlane inspect`, as text.
    pub fn field(&self, name: &str) -> String {
        self.inspected[name].as_str().unwrap_or_default().to_owned()
    }

    /// Inside it, by way of `portlane exec`.
    pub fn inside(&self) -> Place<'t> {
        let entry = [self.topology.portlane_command(), words(&["exec", &self.name, "--"])].concat();
        Place::new(self.topology, &self.name, entry)
    }
}
