//! `stats`: once, or again and again with rates.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::{Global, print, screen::Screen};
use crate::request::Request;

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
            return if global.json { print::json(&sample.stats) } else { print::text(&sample.table()) };
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

/// What was counted up to one moment.
#[derive(Debug)]
struct Sample {
    at: Instant,
    /// When it is watched: seconds since the sample before, if there was one.
    interval: Option<Option<f64>>,
    /// The answer; beside each count what passed by the second, when it is watched.
    stats: Value,
}

/// Names of a container's and of a published port's counts.
const TRAFFIC: [&str; 4] = ["rx_packets", "rx_bytes", "tx_packets", "tx_bytes"];
/// Names of a reason's counts.
const COUNTER: [&str; 2] = ["packets", "bytes"];
/// Tables, what tells their rows apart, and the names of their counts.
const TABLES: [(&str, [&str; 2], &[&str]); 3] = [
    ("containers", ["name", "address"], &TRAFFIC),
    ("ports", ["port", "container"], &TRAFFIC),
    ("reasons", ["hook", "reason"], &COUNTER),
];

fn rate_of(count: &str) -> String {
    format!("{count}_per_second")
}

impl Sample {
    async fn take(global: &Global) -> Result<Self> {
        let stats = global.ask(Request::Stats).await?;
        Ok(Self { at: Instant::now(), interval: None, stats })
    }

    /// Works out what passed by the second since `before`, if there was one: what was not there then had passed nothing.
    fn compare(&mut self, before: Option<&Self>) {
        self.interval = Some(before.map(|before| self.at.duration_since(before.at).as_secs_f64()));
        let seconds = self.interval.flatten();
        for (table, keys, counts) in TABLES {
            for row in self.stats[table].as_array_mut().into_iter().flatten() {
                let same = |other: &&Value| keys.iter().all(|key| other[*key] == row[*key]);
                let then = before.and_then(|before| print::rows(&before.stats[table]).find(same));
                for (name, rate) in counts.iter().zip(rates(row, then, counts, seconds)) {
                    row[rate_of(name)] = json!(rate);
                }
            }
        }
    }

    fn table(&self) -> String {
        if TABLES.iter().all(|(table, ..)| print::rows(&self.stats[*table]).next().is_none()) {
            return "no container runs and no packet was refused: nothing is counted\n".to_owned();
        }
        let header = |names: &[&'static str], counts: &[&'static str], rates: &[&'static str]| {
            [names, counts, if self.interval.is_some() { rates } else { &[] }].concat()
        };
        let (counts, rates) = (
            ["RX PACKETS", "RX BYTES", "TX PACKETS", "TX BYTES"],
            ["RX PACKETS/s", "RX BYTES/s", "TX PACKETS/s", "TX BYTES/s"],
        );
        let mut text = print::columns(
            &header(&["CONTAINER", "ADDRESS"], &counts, &rates),
            &self.cells("containers", &["name", "address"], &TRAFFIC, &[]),
        );
        let ports = self.cells("ports", &["port", "container"], &TRAFFIC, &[]);
        if !ports.is_empty() {
            text.push('\n');
            text += &print::columns(&header(&["PUBLISHED", "CONTAINER"], &counts, &rates), &ports);
        }
        let reasons = self.cells("reasons", &["hook"], &COUNTER, &["reason", "meaning"]);
        if !reasons.is_empty() {
            text.push('\n');
            let header = header(&["HOOK"], &["PACKETS", "BYTES"], &["PACKETS/s", "BYTES/s"]);
            text += &print::columns(&[header, vec!["REASON", "MEANING"]].concat(), &reasons);
        }
        text
    }

    /// A table's rows: packets and bytes by turns, as people read them.
    fn cells(&self, table: &str, before: &[&str], counts: &[&str], after: &[&str]) -> Vec<Vec<String>> {
        let text = |place: usize, count: u64| match place.is_multiple_of(2) {
            true => count.to_string(),
            false => print::bytes(count),
        };
        let cells = |row: &Value| {
            let mut cells: Vec<String> = before.iter().map(|name| print::field(row, name)).collect();
            let counted = |(place, name): (usize, &&str)| text(place, row[*name].as_u64().unwrap_or(0));
            cells.extend(counts.iter().enumerate().map(counted));
            let rate = |(place, name): (usize, &&str)| {
                row[rate_of(name)].as_f64().map_or_else(|| "-".to_owned(), |rate| text(place, rate.round() as u64))
            };
            let rates = counts.iter().enumerate().filter(|_| self.interval.is_some());
            cells.extend(rates.map(rate));
            cells.extend(after.iter().map(|name| print::field(row, name)));
            cells
        };
        print::rows(&self.stats[table]).map(cells).collect()
    }

    fn watched(&self) -> Value {
        let mut value = self.stats.clone();
        value["time"] = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64().into();
        value["interval"] = json!(self.interval.flatten());
        value
    }
}

fn rates(now: &Value, then: Option<&Value>, counts: &[&str], seconds: Option<f64>) -> Vec<Option<f64>> {
    let count = |row: &Value, name: &str| row[name].as_u64().unwrap_or(0);
    let passed = |name: &&str| count(now, name).saturating_sub(then.map_or(0, |then| count(then, name)));
    let rate = |passed| seconds.filter(|seconds| *seconds > 0.0).map(|seconds| passed as f64 / seconds);
    counts.iter().map(|name| rate(passed(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_passed_in_between_by_the_second() {
        let row = |packets: u64, bytes: u64| json!({"packets": packets, "bytes": bytes});
        let rates = |now, then: Option<Value>, seconds| rates(&now, then.as_ref(), &COUNTER, seconds);
        assert_eq!(rates(row(30, 300), Some(row(10, 100)), Some(2.0)), [Some(10.0), Some(100.0)]);
        // It came in between; and one that was begun anew.
        assert_eq!(rates(row(30, 300), None, Some(2.0)), [Some(15.0), Some(150.0)]);
        assert_eq!(rates(row(1, 10), Some(row(10, 100)), Some(1.0)), [Some(0.0), Some(0.0)]);
        assert_eq!(rates(row(30, 300), None, None), [None, None]);
    }

    #[test]
    fn intervals_are_seconds_and_no_shorter_than_a_tenth() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "0.01", "-1", "soon", "inf"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
