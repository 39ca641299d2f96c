//! What a run measured, as it is printed, drawn, written as JSON and compared with an earlier one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the JSON; one that another version wrote is not compared.
pub const SCHEMA: u32 = 1;

/// All that one call of `cargo xtask bench` measured. Only figures of one run may be set against each other as they are;
/// between two runs, their ratios.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub schema: u32,
    /// `uname -r`.
    pub kernel: String,
    /// Processors that were online.
    pub processors: usize,
    /// Whether it was a short one, by `--quick`.
    pub quick: bool,
    /// What was set alike for everybody, in words: offloads, GRO, processors.
    pub settings: Vec<String>,
    /// What could not be measured here, and why.
    pub left_out: Vec<String>,
    pub figures: Vec<Figure>,
}

/// One thing measured several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    #[serde(flatten)]
    pub what: What,
    pub unit: Unit,
    /// In the order in which they were taken.
    pub samples: Vec<f64>,
}

/// What tells one figure from another, also between two runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct What {
    pub section: Section,
    /// Whose: `bare veth pair`, `Docker 28`, `portlane`.
    pub subject: String,
    /// The path of the packets, or the operation: `published`, `publish one by one`.
    pub case: String,
    /// `RR p50`, `conn/s`, `time`.
    pub metric: String,
    /// What else was chosen, by name: `family`, `cpus`, `ports`, `flows`, `others`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub at: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Packets between namespaces.
    Traffic,
    /// The same with what links carry beyond an ordinary veth pair.
    Beyond,
    /// Commands, and what the maps take.
    Control,
    /// Programs run by the kernel on one packet.
    Scale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    Nanoseconds,
    Milliseconds,
    PerSecond,
    BitsPerSecond,
    Bytes,
}

impl Unit {
    /// Whether less of it is better.
    #[must_use]
    pub fn is_cost(self) -> bool {
        matches!(self, Unit::Nanoseconds | Unit::Milliseconds | Unit::Bytes)
    }
}

impl Figure {
    /// The middle sample; 0 without any.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The samples between which the middle half lies.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let figure = |samples: &[f64]| Figure {
            what: What {
                section: Section::Traffic,
                subject: String::new(),
                case: String::new(),
                metric: String::new(),
                at: BTreeMap::new(),
            },
            unit: Unit::Nanoseconds,
            samples: samples.to_vec(),
        };
        assert!((figure(&[9.0, 1.0, 5.0]).median() - 5.0).abs() < f64::EPSILON);
        assert!(figure(&[]).median().abs() < f64::EPSILON);
    }
}
