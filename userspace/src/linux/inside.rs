//! What is in a network namespace that somebody else made.

use std::collections::BTreeSet;

use netlink_packet_route::{
    AddressFamily,
    link::{LinkAttribute, LinkMessage},
    route::RouteAttribute,
};

use super::{Attempt, Host, LinuxError, netlink::Which, observe};
use crate::model::Inside;

fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

impl Host {
    /// What is in the namespace that this speaks to; interfaces of these names are portlane's, and left out with their
    /// routes.
    ///
    /// # Errors
    /// The kernel refuses to list interfaces or routes.
    pub async fn inside(&self, ours: &BTreeSet<String>) -> Result<Inside, LinuxError> {
        let mut inside = Inside::default();
        let mut known = BTreeSet::new();
        let interfaces = self.links(Which::All, |link| Some((link.header.index, name(link)?))).await;
        let interfaces: Vec<(u32, String)> = interfaces.attempt(|| "list interfaces".to_owned())?;
        for (index, name) in interfaces {
            match ours.contains(&name) {
                true => drop(known.insert(index)),
                false => inside.interfaces.extend(Some(name)),
            }
        }
        for (family, leads) in [AddressFamily::Inet, AddressFamily::Inet6].into_iter().zip(&mut inside.leads) {
            for route in self.main_routes(family).await? {
                let by =
                    |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Oif(at) if known.contains(at));
                *leads |= route.header.destination_prefix_length == 0 && !route.attributes.iter().any(by);
                inside.routes.extend(observe::destination(&route, &known));
            }
        }
        Ok(inside)
    }
}
