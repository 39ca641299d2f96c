//! How many ports are published, and in how many entries.

use std::net::IpAddr;

use anyhow::Result;
use portlane_common::{
    config::Config,
    publish::{Publish, PublishKey},
    span::Span,
};
use portlane_datapath::testing::{
    wire::TCP,
    world::{UPLINK_MAC, Version, WEB, World, four, six},
};
use portlane_tests::program::{Programs, config};

/// The first published port.
const FIRST: u16 = 1024;
/// A port that is never published.
pub const UNPUBLISHED: u16 = 61_500;
/// Ports that are never published, for clients.
pub const CLIENT_PORTS: (u16, u32) = (62_000, 3_000);

/// TCP ports of every address of the host, published in entries of so many each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Entries: a host has room for 16,384.
    pub entries: u16,
    /// Ports of each.
    pub each: u16,
}

impl Published {
    /// One port.
    pub const ONE: Self = Self { entries: 1, each: 1 };
    /// From one port to 60,000: more than 16,384 only fit as ranges.
    pub const ALL: [Self; 5] = [
        Self::ONE,
        Self { entries: 1_000, each: 1 },
        Self { entries: 16_000, each: 1 },
        Self { entries: 15_000, each: 4 },
        Self { entries: 1, each: 60_000 },
    ];

    /// Some of them.
    pub const FEW: [Self; 3] = [Self::ALL[0], Self::ALL[1], Self::ALL[3]];

    /// All ports together, and the number of entries.
    pub fn at(self) -> [(&'static str, String); 2] {
        let ports = u32::from(self.entries) * u32::from(self.each);
        [("ports", ports.to_string()), ("entries", self.entries.to_string())]
    }

    /// A published port: the last one.
    pub const fn port(self) -> u16 {
        self.span(self.entries - 1).last
    }

    const fn span(self, entry: u16) -> Span {
        let first = FIRST + entry * self.each;
        Span { first, last: first + (self.each - 1) }
    }

    /// Has the programs publish these and nothing else, and lets one container hold as many conversations as there are.
    ///
    /// # Errors
    /// The maps cannot be changed.
    pub fn apply(self, programs: &Programs) -> Result<()> {
        let mut world = World::new(&programs.interfaces);
        world.publish4.clear();
        world.publish6.clear();
        world.generation.clear();
        for entry in 0..self.entries {
            self.add(&mut world, entry);
        }
        // What a flow leaves by carries the uplink's address as its sender: in a ring it arrives with that again.
        if let Some(veth) = world.veth.get_mut(&programs.interfaces.veth(WEB)) {
            veth.mac = UPLINK_MAC;
        }
        let config = Config { flow_share: u32::MAX, ..config(&world) };
        programs.set_world(world)?;
        programs.datapath().put_config(&config)?;
        programs.forget_flows()
    }

    fn add(self, world: &mut World, entry: u16) {
        let span = self.span(entry);
        let (id, generation) = (u32::from(entry) + 1, 1);
        let Span { first, last } = span;
        let (web4, web6): (IpAddr, IpAddr) = (WEB.address(Version::Four), WEB.address(Version::Six));
        let row = Publish { addr: four(web4), first, last, target: first, flags: 0, id, generation };
        world.publish4.insert(PublishKey::new(Default::default(), TCP, span), row);
        let row = Publish { addr: six(web6), first, last, target: first, flags: 0, id, generation };
        world.publish6.insert(PublishKey::new(Default::default(), TCP, span), row);
        world.generation.insert(id, generation);
    }
}
