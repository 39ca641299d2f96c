//! Sequences of packets and changes of the world, and what the host build makes of them.
//!
//! A sequence is concrete, bytes and all: whoever plays it over another implementation, or plays a part of it again, needs
//! no generator. [`super::plausible`] makes them up.

use portlane_common::{endpoint::veth as veth_flag, span::Span};

use super::{
    bytes::Bytes,
    cases::At,
    run::run,
    tables::Memory,
    wire::SCTP,
    world::{Interfaces, MEMBERS, Published, World},
};
use crate::verdict::Verdict;

/// What masquerade ports are drawn with in every sequence.
pub const SECRET: u32 = 0x0dd5_eed5;
/// Number of the entry that [`Change::Add`] makes.
pub const ADDED: u32 = 7;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet meets a hook.
    Packet {
        /// Which one.
        at: At,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// The control tables change.
    Change(Change),
}

/// What changes in a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants' own words say what their fields are")]
pub enum Change {
    /// The publish entry with this number leads to another container (place in [`MEMBERS`]), to the same port of it.
    Move { publish: u32, to: usize },
    /// The publish entry with this number is taken away.
    Withdraw { publish: u32 },
    /// Port 8080 of SCTP is published for the container with this place in [`MEMBERS`].
    Add { to: usize },
    /// Containers of the network may reach each other, or may not any more.
    Icc { network: u32 },
    /// The network is masqueraded, or is not any more.
    Masquerade { network: u32 },
}

impl Change {
    /// Makes the change.
    pub fn apply(self, world: &mut World) {
        match self {
            Self::Move { publish, to } => world.republish(publish, None, MEMBERS[to]),
            Self::Withdraw { publish } => world.unpublish(publish),
            Self::Add { to } => {
                let span = Span { first: 8080, last: 8080 };
                let new = Published { proto: SCTP, host: None, span, target: 80, sources: &[] };
                world.republish(ADDED, Some(new), MEMBERS[to]);
            }
            Self::Icc { network } => flip(world, network, veth_flag::ICC_OFF),
            Self::Masquerade { network } => flip(world, network, veth_flag::MASQUERADE),
        }
    }
}

fn flip(world: &mut World, network: u32, flag: u8) {
    world.veth.values_mut().filter(|veth| veth.network == network).for_each(|veth| veth.flags ^= flag);
}

/// What the host build made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its verdict.
    pub verdict: Verdict,
    /// The frame afterwards.
    pub bytes: Vec<u8>,
    /// Whether fragments that had overtaken it were put back on its interface.
    pub put_back: bool,
}

/// A sequence, played by the host build.
#[derive(Debug)]
pub struct Play {
    /// Numbers of the interfaces.
    pub interfaces: Interfaces,
    /// What happened, and what became of it if it was a packet.
    pub steps: Vec<(Event, Option<Outcome>)>,
    /// The tables afterwards.
    pub memory: Memory,
}

impl Play {
    /// Nothing has happened yet.
    pub fn begin(interfaces: Interfaces) -> Self {
        let mut memory = Memory::new(World::new(&interfaces));
        memory.secret = SECRET;
        Self { interfaces, steps: Vec::new(), memory }
    }

    /// All of it.
    pub fn of(interfaces: Interfaces, events: impl IntoIterator<Item = Event>) -> Self {
        let mut play = Self::begin(interfaces);
        for event in events {
            play.happen(event);
        }
        play
    }

    /// What happens next.
    pub fn happen(&mut self, event: Event) -> Option<&Outcome> {
        let outcome = match &event {
            Event::Packet { at, bytes } => {
                let mut packet = Bytes { bytes: bytes.clone(), ..Bytes::default() };
                let before = self.memory.put_back.borrow().len();
                let verdict = run(*at, &mut packet, &self.memory);
                let put_back = self.memory.put_back.borrow().len() != before;
                Some(Outcome { verdict, bytes: packet.bytes, put_back })
            }
            Event::Change(change) => {
                change.apply(&mut self.memory.world);
                None
            }
        };
        self.steps.push((event, outcome));
        self.steps.last().and_then(|(_, outcome)| outcome.as_ref())
    }

    /// The events alone.
    pub fn events(&self) -> Vec<Event> {
        self.steps.iter().map(|(event, _)| event.clone()).collect()
    }
}
