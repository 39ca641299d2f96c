//! What the world publishes, as people would write it down: for [`super::promises`], which looks into no table.

use std::net::IpAddr;

use super::{
    sequence::{ADDED, Change},
    wire::{SCTP, TCP, Tuple, UDP},
    world::{LEFT, MEMBERS, Member, PEER, STORE, Version, WEB},
};

/// A port or range: host address, or every; where it leads.
#[derive(Clone, Copy, Debug)]
struct Row {
    id: u32,
    proto: u8,
    host: Option<u8>,
    ports: (u16, u16),
    to: Member,
    target: u16,
    /// Whether only the machine outside and [`WEB`] may use it.
    guarded: bool,
}

/// Published ports and ranges.
#[derive(Clone, Debug)]
pub struct Published(Vec<Row>);

impl Default for Published {
    /// Those of [`super::world`].
    fn default() -> Self {
        let one = |id, proto, host, port, to, target| Row {
            id,
            proto,
            host,
            ports: (port, port),
            to,
            target,
            guarded: false,
        };
        Self(vec![
            one(4, TCP, Some(1), 9090, WEB, 90),
            one(1, TCP, None, 8080, WEB, 80),
            one(2, UDP, None, 8080, WEB, 80),
            Row { ports: (40_000, 55_999), ..one(3, UDP, None, 0, WEB, 5000) },
            one(5, TCP, None, 9090, PEER, 91),
            one(6, TCP, None, 7070, STORE, 70),
            one(12, UDP, None, 7070, STORE, 70),
            one(13, SCTP, None, 7070, STORE, 70),
            Row { guarded: true, ..one(8, UDP, None, 9191, PEER, 81) },
            Row { guarded: true, ..one(9, TCP, None, 9191, PEER, 81) },
            one(10, UDP, None, LEFT, WEB, 5353),
            one(11, TCP, None, LEFT, WEB, 5353),
        ])
    }
}

impl Published {
    /// The world changes.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Move { publish, to } => {
                self.0.iter_mut().filter(|row| row.id == publish).for_each(|row| row.to = MEMBERS[to]);
            }
            Change::Withdraw { publish } => self.0.retain(|row| row.id != publish),
            Change::Add { to } => {
                self.0.retain(|row| row.id != ADDED);
                let (ports, to) = ((8080, 8080), MEMBERS[to]);
                self.0.push(Row { id: ADDED, proto: SCTP, host: None, ports, to, target: 80, guarded: false });
            }
            Change::Icc { .. } | Change::Masquerade { .. } => {}
        }
    }

    /// The entry that a packet asks for, and where it leads.
    pub fn find(&self, tuple: &Tuple) -> Option<(u32, IpAddr, u16)> {
        let (address, port) = tuple.dst;
        let version = if address.is_ipv4() { Version::Four } else { Version::Six };
        let is_host = |(network, host)| version.address(network, host) == address;
        let rows = self.0.iter().filter(|row| {
            let asked = match row.host {
                Some(host) => is_host((0, host)),
                None if port == LEFT => [(0, 1), (0, 9), (1, 1)].into_iter().any(is_host),
                None => [(0, 1), (0, 9), (1, 1), (2, 1), (3, 1), (4, 1)].into_iter().any(is_host),
            };
            asked && row.proto == tuple.proto && (row.ports.0..=row.ports.1).contains(&port)
        });
        // One for this address before one for every address.
        let row = rows.min_by_key(|row| row.host.is_none())?;
        Some((row.id, row.to.address(version), row.target + (port - row.ports.0)))
    }

    /// Whether a packet asks for a port that is not open to it: of all who send, the machine outside and [`WEB`] alone
    /// may use what is not open to everybody.
    pub fn refuses(&self, tuple: &Tuple) -> bool {
        let src = tuple.src.0;
        let version = if src.is_ipv4() { Version::Four } else { Version::Six };
        let guarded = |id: u32| self.0.iter().any(|row| row.id == id && row.guarded);
        src != version.outside() && src != WEB.address(version) && self.find(tuple).is_some_and(|(id, ..)| guarded(id))
    }

    /// Whether a container's port is published.
    pub fn leads_to(&self, proto: u8, (address, port): (IpAddr, u16)) -> bool {
        let version = if address.is_ipv4() { Version::Four } else { Version::Six };
        let leads = |row: &Row| row.proto == proto && row.to.address(version) == address;
        let holds = |row: &Row| (row.target..=row.target + (row.ports.1 - row.ports.0)).contains(&port);
        self.0.iter().any(|row| leads(row) && holds(row))
    }
}
