//! `stats`: once, or again and again with rates.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use clap::Args;
use portlane_common::counter::{Counter, Traffic};
use serde_json::{Value, json};

use super::{Global, print, publish, screen::Screen};
use crate::model;

/// Show what passed, by container and by published port, and what was refused, and why
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane stats --watch                           every second, with what passed in each; Ctrl-C ends it
  portlane --json stats --watch 10 --count 6       six lines of JSON in a minute
JSON: {containers: [{name, address, address6, COUNTS}],
       ports: [{port, container, container_address, proto, host_address, host_ports, container_ports, sources, COUNTS}],
       reasons: [{hook, reason, meaning, packets, bytes}]}, where COUNTS are rx_packets, rx_bytes, tx_packets and
tx_bytes as the container sees them. With --watch also time (seconds since 1970), interval (seconds since the line
before; null in the first), and beside each count the same by the second: rx_packets_per_second and so on.")]
pub(super) struct Stats {
    /// Show it anew every so many seconds, with rates
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    watch: Option<Duration>,
    /// End after so many times
    #[arg(short = 'n', long, requires = "watch", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    let parsed = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.filter(|interval| *interval >= LEAST).ok_or_else(|| "use a number of seconds, 0.1 or more".to_owned())
}

impl Stats {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let Some(interval) = self.watch else {
            let sample = Sample::take(global).await?;
            return if global.json { print::json(&sample.json()) } else { print::text(&sample.table()) };
        };
        let mut screen = Screen::open(!global.json)?;
        let mut before: Option<Sample> = None;
        for shown in 1.. {
            let mut sample = Sample::take(global).await?;
            sample.compare(before.as_ref());
            let text = if global.json { format!("{}\n", sample.watched()) } else { sample.table() };
            if !screen.show(&text)? || self.count == Some(shown) || !screen.wait(interval).await? {
                break;
            }
            before = Some(sample);
        }
        screen.close()
    }
}

/// A container's name and addresses.
type Endpoint = (String, Ipv4Addr, Option<IpAddr>);
/// A published port, and its container's name and address.
type Port = (model::Publish, String, Ipv4Addr);

/// What was counted up to one moment.
#[derive(Debug)]
struct Sample {
    at: Instant,
    /// When it is watched: seconds since the sample before, if there was one.
    interval: Option<Option<f64>>,
    loaded: bool,
    /// By name and identifier.
    containers: BTreeMap<(String, String), Row<Endpoint>>,
    /// By number and generation.
    ports: BTreeMap<(u32, u32), Row<Port>>,
    /// By hook and reason.
    reasons: BTreeMap<(u8, u8), Row<[&'static str; 3]>>,
}

/// Something, and what was counted of it under [`TRAFFIC`] or [`COUNTER`].
#[derive(Debug)]
struct Row<T> {
    what: T,
    counts: Vec<u64>,
    /// What passed of each by the second, when it is watched; not known at first.
    rates: Vec<Option<f64>>,
}

/// Names of a container's and of a published port's counts.
const TRAFFIC: [&str; 4] = ["rx_packets", "rx_bytes", "tx_packets", "tx_bytes"];
/// Names of a reason's counts.
const COUNTER: [&str; 2] = ["packets", "bytes"];

impl<T> Row<T> {
    fn new(what: T, counts: Vec<u64>) -> Self {
        Self { what, counts, rates: Vec::new() }
    }

    fn traffic(what: T, count: Traffic) -> Self {
        Self::new(what, vec![count.rx_packets, count.rx_bytes, count.tx_packets, count.tx_bytes])
    }

    /// For a table: packets and bytes by turns, as people read them.
    fn cells<const N: usize>(&self, names: [String; N]) -> Vec<String> {
        let text =
            |place: usize, count: u64| if place.is_multiple_of(2) { count.to_string() } else { print::bytes(count) };
        let counts = self.counts.iter().enumerate().map(|(place, count)| text(place, *count));
        let rate = |(place, rate): (usize, &Option<f64>)| {
            rate.map_or_else(|| "-".to_owned(), |rate| text(place, rate.round() as u64))
        };
        names.into_iter().chain(counts).chain(self.rates.iter().enumerate().map(rate)).collect()
    }

    /// For JSON.
    fn fields(&self, mut value: Value, names: &[&str]) -> Value {
        for (name, count) in names.iter().zip(&self.counts) {
            value[*name] = (*count).into();
        }
        for (name, rate) in names.iter().zip(&self.rates) {
            value[format!("{name}_per_second")] = json!(rate);
        }
        value
    }
}

impl Sample {
    async fn take(global: &Global) -> Result<Self> {
        let engine = global.engine().await?;
        let mut sample = Self {
            at: Instant::now(),
            interval: None,
            loaded: false,
            containers: BTreeMap::new(),
            ports: BTreeMap::new(),
            reasons: BTreeMap::new(),
        };
        let Some(datapath) = engine.datapath()? else { return Ok(sample) };
        sample.loaded = true;
        for container in engine.state().live().filter(|container| container.is_bridged()) {
            let name = container.name.clone();
            for endpoint in &container.endpoints {
                let what = (name.clone(), endpoint.addr4, endpoint.addr6.map(IpAddr::from));
                let row = Row::traffic(what, datapath.endpoint_traffic(endpoint.number)?);
                sample.containers.insert((name.clone(), format!("{}{}", container.id, endpoint.network)), row);
            }
            let Some(address) = engine.state().gateways(container).0.map(|main| main.addr4) else { continue };
            for publish in &container.publishes {
                let row = Row::traffic((publish.clone(), name.clone(), address), datapath.publish_traffic(publish.id)?);
                sample.ports.insert((publish.id, publish.generation), row);
            }
        }
        for (hook, reason, Counter { packets, bytes }) in datapath.reasons()? {
            let row = Row::new([hook.name(), reason.name(), reason.sentence()], vec![packets, bytes]);
            sample.reasons.insert((hook as u8, reason as u8), row);
        }
        Ok(sample)
    }

    /// Works out what passed by the second since `before`, if there was one: what was not there then had passed nothing.
    fn compare(&mut self, before: Option<&Self>) {
        self.interval = Some(before.map(|before| self.at.duration_since(before.at).as_secs_f64()));
        let seconds = self.interval.flatten();
        compare(&mut self.containers, before.map(|before| &before.containers), seconds);
        compare(&mut self.ports, before.map(|before| &before.ports), seconds);
        compare(&mut self.reasons, before.map(|before| &before.reasons), seconds);
    }

    fn table(&self) -> String {
        if !self.loaded {
            return "nothing is loaded, so nothing is counted\n".to_owned();
        }
        let header = |names: &[&'static str], counts: &[&'static str], rates: &[&'static str]| {
            [names, counts, if self.interval.is_some() { rates } else { &[] }].concat()
        };
        let (counts, rates) = (
            ["RX PACKETS", "RX BYTES", "TX PACKETS", "TX BYTES"],
            ["RX PACKETS/s", "RX BYTES/s", "TX PACKETS/s", "TX BYTES/s"],
        );
        let rows = self.containers.values().map(|row| row.cells([row.what.0.clone(), row.what.1.to_string()]));
        let mut text = print::columns(&header(&["CONTAINER", "ADDRESS"], &counts, &rates), &rows.collect::<Vec<_>>());
        if !self.ports.is_empty() {
            let rows = self.ports.values().map(|row| row.cells([row.what.0.to_string(), row.what.1.clone()]));
            text.push('\n');
            text += &print::columns(&header(&["PUBLISHED", "CONTAINER"], &counts, &rates), &rows.collect::<Vec<_>>());
        }
        if !self.reasons.is_empty() {
            let rows = self.reasons.values().map(|row| {
                let [hook, reason, meaning] = row.what.map(str::to_owned);
                [row.cells([hook]), vec![reason, meaning]].concat()
            });
            text.push('\n');
            let header = header(&["HOOK"], &["PACKETS", "BYTES"], &["PACKETS/s", "BYTES/s"]);
            text += &print::columns(&[header, vec!["REASON", "MEANING"]].concat(), &rows.collect::<Vec<_>>());
        }
        text
    }

    fn json(&self) -> Value {
        let containers = self.containers.values().map(|row| {
            let (name, address, address6) = &row.what;
            row.fields(json!({"name": name, "address": address, "address6": address6}), &TRAFFIC)
        });
        let ports = self.ports.values().map(|row| {
            let (publish, name, address) = &row.what;
            let mut value = publish::entry(publish);
            value["port"] = publish.to_string().into();
            value["container"] = name.clone().into();
            value["container_address"] = json!(address);
            row.fields(value, &TRAFFIC)
        });
        let reasons = self.reasons.values().map(|row| {
            let [hook, reason, meaning] = row.what;
            row.fields(json!({"hook": hook, "reason": reason, "meaning": meaning}), &COUNTER)
        });
        json!({
            "containers": containers.collect::<Vec<_>>(),
            "ports": ports.collect::<Vec<_>>(),
            "reasons": reasons.collect::<Vec<_>>(),
        })
    }

    fn watched(&self) -> Value {
        let mut value = self.json();
        value["time"] = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64().into();
        value["interval"] = json!(self.interval.flatten());
        value
    }
}

fn compare<K: Ord, T>(rows: &mut BTreeMap<K, Row<T>>, before: Option<&BTreeMap<K, Row<T>>>, seconds: Option<f64>) {
    for (key, row) in rows {
        let then = before.and_then(|rows| rows.get(key));
        let then = |place: usize| then.and_then(|row| row.counts.get(place)).copied().unwrap_or(0);
        let passed = row.counts.iter().enumerate().map(|(place, now)| now.saturating_sub(then(place)));
        let rate = |passed| seconds.filter(|seconds| *seconds > 0.0).map(|seconds| passed as f64 / seconds);
        row.rates = passed.map(rate).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_passed_in_between_by_the_second() {
        let row = |counts: &[u64]| BTreeMap::from([(1, Row::new((), counts.to_vec()))]);
        let rates = |now: &[u64], before: Option<&BTreeMap<i32, Row<()>>>, seconds| {
            let mut rows = row(now);
            compare(&mut rows, before, seconds);
            rows.remove(&1).unwrap().rates
        };
        assert_eq!(rates(&[30, 300], Some(&row(&[10, 100])), Some(2.0)), [Some(10.0), Some(100.0)]);
        // It came in between; and one that was begun anew.
        assert_eq!(rates(&[30], Some(&BTreeMap::new()), Some(2.0)), [Some(15.0)]);
        assert_eq!(rates(&[1], Some(&row(&[10])), Some(1.0)), [Some(0.0)]);
        assert_eq!(rates(&[30], None, None), [None]);
    }

    #[test]
    fn intervals_are_seconds_and_no_shorter_than_a_tenth() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "0.01", "-1", "soon", "inf"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
