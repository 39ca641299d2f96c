//! Latencies, every one of them kept: histograms would round by more than the differences that are looked for.

use std::time::Duration;

/// No path answers more requests a second, one after another.
const MOST_PER_SECOND: f64 = 500_000.0;

/// Memory for a measurement's latencies, taken before it begins.
#[derive(Debug)]
pub struct Samples(Vec<u32>);

impl Samples {
    /// Room for all that a measurement of this length can have.
    pub fn lasting(time: Duration) -> Self {
        Self(Vec::with_capacity((time.as_secs_f64() * MOST_PER_SECOND) as usize + 1))
    }

    /// False when there is no room left.
    pub fn add(&mut self, latency: Duration) -> bool {
        let room = self.0.len() < self.0.capacity();
        if room {
            self.0.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
        }
        room
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Nanoseconds that this share of all (0 to 1) did not exceed; 0 without any.
    pub fn percentile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_what_this_share_of_all_did_not_exceed() {
        let mut samples = Samples::lasting(Duration::from_millis(1));
        assert_eq!(samples.percentile(0.5), 0.0);
        for nanoseconds in (1..=100).rev() {
            assert!(samples.add(Duration::from_nanos(nanoseconds)));
        }
        for (share, nanoseconds) in [(0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0), (0.0, 1.0)] {
            assert_eq!(samples.percentile(share), nanoseconds, "{share}");
        }
    }

    #[test]
    fn a_measurement_never_allocates() {
        let mut samples = Samples::lasting(Duration::ZERO);
        let room = samples.0.capacity();
        assert!((0..room).all(|_| samples.add(Duration::from_secs(10))));
        assert!(!samples.add(Duration::ZERO));
        assert_eq!(samples.0.capacity(), room);
        assert_eq!(samples.percentile(1.0), f64::from(u32::MAX));
    }
}
