//! Addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::{TryStreamExt, future};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};

use super::{Attempt, Host, IntoIo, LinuxError};

#[derive(Debug)]
pub(super) struct Address {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
    pub(super) prefix_length: u8,
    scope: AddressScope,
    flags: AddressFlags,
}

impl Host {
    /// Of the interface with this index; of all for 0.
    pub(super) async fn addresses(&self, index: u32) -> Result<Vec<Address>, LinuxError> {
        let mut request = self.handle().address().get();
        request.message_mut().header.index = index;
        let found = request.execute().try_filter_map(|address| future::ready(Ok(Address::of(&address))));
        match found.try_collect().await.map_err(IntoIo::into_io) {
            // It went since it was listed.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
            found => found.attempt(|| "list addresses".to_owned()),
        }
    }
}

impl Address {
    fn of(message: &AddressMessage) -> Option<Self> {
        // Of a point-to-point interface, IFA_LOCAL is the host's address and IFA_ADDRESS the peer's; of others, IPv6
        // has IFA_ADDRESS alone.
        let attributes = &message.attributes;
        let local = attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        })?;
        let flags = attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
        Some(Self {
            ifindex: message.header.index,
            address,
            prefix_length: message.header.prefix_len,
            scope: message.header.scope,
            flags: flags.unwrap_or_else(|| AddressFlags::from_bits_retain(message.header.flags.bits().into())),
        })
    }

    /// As the source of masqueraded packets: the interface's first address, primary ones before secondary ones.
    pub(super) fn source4(&self) -> Option<(bool, Ipv4Addr)> {
        let IpAddr::V4(address) = self.address else { return None };
        let usable = matches!(self.scope, AddressScope::Universe | AddressScope::Site) && !address.is_loopback();
        usable.then_some((self.flags.contains(AddressFlags::Secondary), address))
    }

    /// As the source of masqueraded packets: what lasts before what passes, global before unique local addresses.
    pub(super) fn source6(&self) -> Option<((bool, bool, bool), Ipv6Addr)> {
        let IpAddr::V6(address) = self.address else { return None };
        let useless = AddressFlags::Tentative | AddressFlags::Dadfailed;
        let usable = self.scope == AddressScope::Universe
            && !address.is_unicast_link_local()
            && !address.is_loopback()
            && (!self.flags.intersects(useless) || self.flags.contains(AddressFlags::Optimistic));
        // IFA_F_SECONDARY of an IPv6 address says that it is temporary (RFC 8981).
        let rank = (
            self.flags.contains(AddressFlags::Deprecated),
            self.flags.contains(AddressFlags::Secondary),
            address.is_unique_local(),
        );
        usable.then_some((rank, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_its_addresses_and_one_that_is_not_there_has_none() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let [all, first, gone] = runtime.block_on(async {
            let host = Host::open().expect("a socket");
            let mut found = [const { Vec::new() }; 3];
            for (found, index) in found.iter_mut().zip([0, 1, i32::MAX.cast_unsigned()]) {
                *found = host.addresses(index).await.expect("the kernel lists them");
            }
            found.map(|found| found.into_iter().map(|found| (found.ifindex, found.address)).collect::<Vec<_>>())
        });
        assert_eq!(first, all.into_iter().filter(|(ifindex, _)| *ifindex == 1).collect::<Vec<_>>());
        assert!(gone.is_empty());
    }
}
