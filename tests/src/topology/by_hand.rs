//! Network namespaces made with `ip netns add`, as their owners make them.

use anyhow::Result;

use super::{Place, Topology, ip, netns_entry};

/// A namespace that is not portlane's. Dropped, it is deleted.
#[derive(Debug)]
pub struct ByHand<'t> {
    topology: &'t Topology,
    netns: String,
}

impl Topology {
    /// Makes a namespace, in which nothing is but `lo`, and that is down.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn by_hand(&self, name: &str) -> Result<ByHand<'_>> {
        let netns = format!("{}-{name}", self.name);
        ip(&format!("netns add {netns}"))?;
        Ok(ByHand { topology: self, netns })
    }
}

impl<'t> ByHand<'t> {
    /// As `ip netns` calls it.
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Inside it, without portlane's help.
    pub fn place(&self) -> Place<'t> {
        Place::new(self.topology, &self.netns, netns_entry(&self.netns))
    }

    /// A cable to another one: `eth0` at both ends, 10.0.0.1/24 here and 10.0.0.2/24 there.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn cable(&self, other: &Self) -> Result<()> {
        ip(&format!("-n {} link add eth0 type veth peer name eth0 netns {}", self.netns, other.netns))?;
        for (end, address) in [(self, "10.0.0.1/24"), (other, "10.0.0.2/24")] {
            ip(&format!("-n {} address add {address} dev eth0", end.netns))?;
            ip(&format!("-n {} link set eth0 up", end.netns))?;
        }
        Ok(())
    }

    /// Its interfaces, addresses and routes, as far as they do not count anything.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn inventory(&self) -> Result<String> {
        let show = ["link", "-4 address", "-6 address show scope global", "-4 route show table all", "-6 route"];
        let command = show.map(|what| format!("ip -o {what} | grep -v ' fe80::'")).join("; ");
        self.place().run(&["sh", "-c", &format!("{command}; true")])
    }

    /// Deletes it, as its owner may at any time.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn delete(&self) -> Result<()> {
        ip(&format!("netns del {}", self.netns))
    }
}

impl Drop for ByHand<'_> {
    fn drop(&mut self) {
        // A test may have deleted it.
        drop(self.delete());
    }
}
