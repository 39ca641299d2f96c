//! Segmentation offloads: the same on every cable of every peer, whoever laid it.

use anyhow::Result;

use super::topology::{Topology, inside, quiet, said};

/// What senders leave to the other end of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// Segments of up to 64 KiB cross cables whole.
    On,
    /// Every packet is as large as the MTU at most.
    Off,
}

impl Offloads {
    pub const BOTH: [Self; 2] = [Self::On, Self::Off];

    /// As `ethtool -K` takes it. GRO is off in either case, as it is on a veth unless somebody sets it: whoever put segments
    /// together again could not be compared with whoever does not.
    fn words(self) -> [&'static str; 6] {
        let segments = if self == Self::On { "on" } else { "off" };
        ["tso", segments, "gso", segments, "gro", "off"]
    }

    /// What a stream is called in figures.
    pub fn metric(self) -> &'static str {
        if self == Self::On { "stream, GSO" } else { "stream, offloads off" }
    }

    /// What to say about it.
    pub fn setting(self) -> String {
        let name = if self == Self::On { "all but streams with offloads off" } else { "streams with offloads off" };
        format!("{name}: {} at both ends of every veth pair of every peer", self.words().join(" "))
    }

    /// Sets them on all veths; GRO only where that is not left as whoever laid the cable set it.
    ///
    /// # Errors
    /// When ethtool fails.
    pub fn set(self, net: &Topology, keep_gro: bool) -> Result<()> {
        let words = self.words();
        let words = if keep_gro { &words[..4] } else { &words };
        for place in net.places() {
            let netns = net.netns(*place);
            for interface in veths(&netns)? {
                quiet(inside(&netns, "ethtool").args(["-K", &interface]).args(words))?;
            }
        }
        Ok(())
    }
}

fn veths(netns: &str) -> Result<Vec<String>> {
    let list = said(inside(netns, "ip").args(["-br", "link", "show", "type", "veth"]))?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    // `veth-a@if2`
    Ok(names.map(|name| name.split('@').next().unwrap_or(name).to_owned()).collect())
}
