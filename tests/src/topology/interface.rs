//! What interfaces do by themselves, and what they and the kernel count.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;

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
