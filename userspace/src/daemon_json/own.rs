//! What of `daemon.json` is portlane's own.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DaemonJson, typed};
use crate::model::{network::LEAST_MTU, state::TimeoutSettings, tuning::MOST_MTU};

/// What there is.
const KEYS: &str = "an object with no other keys than `big-tcp`, `expedited-rcu`, `flow-share`, `flows`, `gro`, `link-mtu`, `timeouts` and \
     `xdp`";
/// Seconds that a timeout may have: less than two could not be told from the pace at which flows are looked at, more than
/// a week are a mistake.
const TIMEOUTS: RangeInclusive<u32> = 2..=7 * 24 * 3600;
/// Conversations that a table may hold: about 300 bytes each, all taken from the kernel's memory at once.
const TABLES: RangeInclusive<u32> = 64..=8_388_608;

/// What is portlane's own.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Own {
    xdp: Value,
    expedited_rcu: Value,
    flows: Value,
    flow_share: Value,
    timeouts: Map<String, Value>,
    link_mtu: Value,
    gro: Value,
    big_tcp: Value,
}

impl Default for Own {
    fn default() -> Self {
        let unset = Value::Null;
        Self {
            xdp: unset.clone(),
            expedited_rcu: unset.clone(),
            flows: unset.clone(),
            flow_share: unset.clone(),
            timeouts: Map::new(),
            link_mtu: unset.clone(),
            gro: unset.clone(),
            big_tcp: unset,
        }
    }
}

impl DaemonJson {
    pub(super) fn take_own(&mut self, value: Value) -> Result<(), String> {
        let own: Own = typed(value, KEYS)?;
        if !own.xdp.is_null() {
            self.xdp = typed(own.xdp, "`xdp`: \"auto\", \"native\" or \"off\"")?;
        }
        if !own.expedited_rcu.is_null() {
            self.expedited_rcu = typed(own.expedited_rcu, "`expedited-rcu`: true or false")?;
        }
        if !own.flows.is_null() {
            self.flows.table = within(own.flows, "flows", &TABLES)?;
            self.flows.share = self.flows.table / 4;
        }
        if !own.flow_share.is_null() {
            self.flows.share = within(own.flow_share, "flow-share", &(1..=self.flows.table))?;
        }
        let links = &mut self.default_network.links;
        if !own.link_mtu.is_null() {
            links.mtu = Some(within(own.link_mtu, "link-mtu", &(LEAST_MTU..=MOST_MTU))?);
        }
        if !own.gro.is_null() {
            links.gro = typed(own.gro, "`gro`: true or false")?;
        }
        if !own.big_tcp.is_null() {
            links.big_tcp = typed(own.big_tcp, "`big-tcp`: true or false")?;
        }
        for (name, seconds) in own.timeouts {
            let mut settings = serde_json::to_value(self.flows.timeouts).map_err(|error| error.to_string())?;
            let known: Vec<_> = settings.as_object().into_iter().flat_map(|all| all.keys().cloned()).collect();
            if !known.contains(&name) {
                return Err(format!("has no timeout `{name}`: there are {}", known.join(", ")));
            }
            settings[&name] = within(seconds, &name, &TIMEOUTS)?.into();
            self.flows.timeouts = typed::<TimeoutSettings>(settings, "timeouts")?;
        }
        Ok(())
    }
}

fn within(value: Value, name: &str, range: &RangeInclusive<u32>) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
    let wrong =
        || format!("has {value} for `{name}`, which must be a number from {} to {}", range.start(), range.end());
    number.ok_or_else(wrong)
}
