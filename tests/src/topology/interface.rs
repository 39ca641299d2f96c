//! What interfaces do by themselves, and what they and the kernel count.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Family, Place, Topology, Way};

impl Place<'_> {
    /// Turns on and off what an interface does by itself, in the words of `ethtool -K`: `gro on tx off`.
    ///
    /// # Errors
    /// It cannot.
    pub fn offload(&self, interface: &str, words: &str) -> Result<()> {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.run(&[&["ethtool", "-K", interface], &words[..]].concat()).map(drop)
    }

    /// Has packets of so many bytes pass an interface.
    ///
    /// # Errors
    /// It cannot.
    pub fn set_mtu(&self, interface: &str, bytes: u16) -> Result<()> {
        self.run(&["ip", "link", "set", interface, "mtu", &bytes.to_string()]).map(drop)
    }

    /// The MAC address of an interface.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn mac(&self, interface: &str) -> Result<String> {
        let link = self.link(interface)?;
        Ok(link["address"].as_str().with_context(|| format!("no address in {link}"))?.to_owned())
    }

    /// Bytes and packets that an interface has received.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn received(&self, interface: &str) -> Result<(u64, u64)> {
        let link = self.link(interface)?;
        let count = |what: &str| link["stats64"]["rx"][what].as_u64().with_context(|| format!("no {what} in {link}"));
        Ok((count("bytes")?, count("packets")?))
    }

    fn link(&self, interface: &str) -> Result<Value> {
        let mut links: Value = serde_json::from_str(&self.run(&["ip", "-j", "-s", "link", "show", "dev", interface])?)?;
        Ok(links[0].take())
    }

    /// One of the network stack's counters, by the name that nstat has for it: `UdpInCsumErrors`.
    ///
    /// # Errors
    /// There is no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let text = self.run(&["nstat", "-asz", "-j", name])?;
        let counters: Value = serde_json::from_str(&text)?;
        counters["kernel"][name].as_u64().with_context(|| format!("no {name}: {text}"))
    }
}

impl Way<'_> {
    /// Streams so many bytes each way, to a `serve stream` on a port; the packets that come to either end have more than
    /// `size` bytes on average.
    ///
    /// # Errors
    /// The stream changes on its way, or is cut up smaller.
    pub fn streams_in_packets_above(
        &self,
        size: u64,
        net: &Topology,
        family: Family,
        port: u16,
        bytes: u64,
    ) -> Result<()> {
        let ends = [net.outside(), self.container.inside()];
        let before = [ends[0].received("eth0")?, ends[1].received("eth0")?];
        self.client.streams(self.at(family, port), bytes)?;
        for (end, before) in ends.iter().zip(before) {
            let after = end.received("eth0")?;
            let (bytes, packets) = (after.0 - before.0, after.1 - before.1);
            // Acknowledgements go the same way, and are small.
            ensure!(bytes / packets > size, "{bytes} bytes came in {packets} packets");
        }
        Ok(())
    }
}
