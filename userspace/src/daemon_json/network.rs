//! Settings of which no default network could be made.

use crate::model::{
    DefaultNetwork, ipam,
    network::{LEAST_MTU, LEAST_MTU6},
    tuning::MOST_MTU,
};

/// A key that can be obeyed by no network, or that another one contradicts; and how.
pub(super) fn unusable(network: &DefaultNetwork) -> Option<(&'static str, String)> {
    subnets(network).or_else(|| outside(network)).or_else(|| mtu(network))
}

fn subnets(network: &DefaultNetwork) -> Option<(&'static str, String)> {
    let problem =
        |subnet: String| format!("is {subnet}, which is no subnet for containers: too small, or not for hosts");
    if let Some(bip) = network.bip {
        if !ipam::check_subnet4(bip) {
            return Some(("bip", problem(bip.to_string())));
        }
        // An address that is the subnet's own asks for the subnet alone.
        if bip.addr() == bip.broadcast() {
            return Some(("bip", format!("is {bip}, the subnet's broadcast address, which the bridge cannot have")));
        }
    }
    if let Some(range) = network.range4.filter(|range| network.bip.is_none() && !ipam::check_subnet4(*range)) {
        return Some(("fixed-cidr", problem(range.to_string())));
    }
    let subnet6 = network.subnet6.filter(|subnet| !ipam::check_subnet6(*subnet))?;
    Some(("fixed-cidr-v6", problem(subnet6.to_string())))
}

fn outside(network: &DefaultNetwork) -> Option<(&'static str, String)> {
    let subnet4 = network.bip.map(|bip| (bip.trunc(), "bip")).or(network.range4.map(|range| (range, "fixed-cidr")));
    let outside =
        |what: String, subnet: String, key: &str| format!("is {what}, outside {subnet}, the subnet of `{key}`");
    if let (Some(range), Some((subnet, key))) = (network.range4, subnet4)
        && !subnet.contains(&range)
    {
        return Some(("fixed-cidr", outside(range.to_string(), subnet.to_string(), key)));
    }
    if let (Some(router), Some((subnet, key))) = (network.router4, subnet4)
        && !subnet.contains(&router)
    {
        return Some(("default-gateway", outside(router.to_string(), subnet.to_string(), key)));
    }
    if let (Some(router), Some(subnet)) = (network.router6, network.subnet6)
        && !subnet.contains(&router)
    {
        return Some(("default-gateway-v6", outside(router.to_string(), subnet.to_string(), "fixed-cidr-v6")));
    }
    None
}

fn mtu(network: &DefaultNetwork) -> Option<(&'static str, String)> {
    let mtu = network.mtu?;
    let (least, why) = if network.ipv6 {
        (LEAST_MTU6, ": IPv6, which the default network has unless `ipv6` is false, takes no less")
    } else {
        (LEAST_MTU, "")
    };
    if !(least..=MOST_MTU).contains(&mtu) {
        let why = if mtu < LEAST_MTU6 { why } else { "" };
        return Some(("mtu", format!("is {mtu} and must be a number of bytes from {least} to {MOST_MTU}{why}")));
    }
    let link = network.links.mtu.filter(|link| *link < mtu)?;
    Some(("link-mtu", format!("is {link}, less than the {mtu} of `mtu`, which it is to exceed")))
}

#[cfg(test)]
mod tests {
    use super::super::DaemonJson;

    #[test]
    fn what_no_network_can_have_is_refused_with_key_and_line() {
        let parse = |text: &str| DaemonJson::parse("daemon.json", text).map_err(|error| error.to_string());
        let rows = [
            ("{\n\"mtu\": 100000}", "line 2: `mtu` is 100000 and must be a number of bytes from 1280 to 65535"),
            (r#"{"mtu": 0, "ipv6": false}"#, "`mtu` is 0 and must be a number of bytes from 68 to 65535"),
            (
                r#"{"mtu": 1000}"#,
                "from 1280 to 65535: IPv6, which the default network has unless `ipv6` is false, takes no less",
            ),
            (r#"{"mtu": 1500, "portlane": {"link-mtu": 1400}}"#, "`link-mtu` is 1400, less than the 1500 of `mtu`"),
            (r#"{"bip": "10.9.0.1/31"}"#, "`bip` is 10.9.0.1/31, which is no subnet for containers"),
            (r#"{"bip": "127.0.0.1/8"}"#, "`bip` is 127.0.0.1/8, which is no subnet for containers"),
            (r#"{"bip": "10.9.0.255/24"}"#, "`bip` is 10.9.0.255/24, the subnet's broadcast address"),
            (r#"{"bip": "10.9.0.1/24", "default-gateway": "9.9.9.9"}"#, "`default-gateway` is 9.9.9.9, outside"),
            (r#"{"fixed-cidr": "10.9.0.0/31"}"#, "`fixed-cidr` is 10.9.0.0/31, which is no subnet"),
            (r#"{"fixed-cidr-v6": "fe80::/64"}"#, "`fixed-cidr-v6` is fe80::/64, which is no subnet"),
        ];
        for (text, words) in rows {
            let said = parse(text).expect_err(text);
            assert!(said.starts_with("daemon.json, line ") && said.contains(words), "{said}");
        }
        for right in [
            r#"{"mtu": 1000, "ipv6": false}"#,
            r#"{"mtu": 1280, "portlane": {"link-mtu": 9000}}"#,
            r#"{"bip": "10.9.0.0/24"}"#,
            r#"{"bip": "10.9.0.1/24", "fixed-cidr": "10.9.0.7/32"}"#,
        ] {
            parse(right).expect(right);
        }
    }
}
