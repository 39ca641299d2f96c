//! The two loops that measure: one that wants every latency, one that only counts.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::samples::Samples;

/// Neighbours are resolved, caches filled and windows opened in this time, which does not count.
pub const WARM_UP: Duration = Duration::from_millis(100);
/// What is named p99.
const TAIL: f64 = 0.99;

/// Requests one after another. The clock is read once for each, since one begins where another ends.
///
/// # Errors
/// Those of a request.
pub fn latencies(time: Duration, mut request: impl FnMut() -> io::Result<()>) -> io::Result<Vec<(&'static str, f64)>> {
    let mut samples = Samples::lasting(time);
    per_second(WARM_UP, 1, &mut request)?;
    let start = Instant::now();
    let mut last = start;
    while last - start < time {
        request()?;
        let now = Instant::now();
        if !samples.add(now - last) {
            break;
        }
        last = now;
    }
    let per_second = samples.count() as f64 / (last - start).as_secs_f64();
    Ok(vec![("p50_ns", samples.percentile(0.5)), ("p99_ns", samples.percentile(TAIL)), ("per_second", per_second)])
}

/// How often a second it can be done, the clock being read after every `batch`.
///
/// # Errors
/// Those of the action.
pub fn per_second(time: Duration, batch: u32, mut action: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let (start, mut done) = (Instant::now(), 0_u64);
    loop {
        for _ in 0..batch {
            action()?;
        }
        done += u64::from(batch);
        let passed = start.elapsed();
        if passed >= time {
            return Ok(done as f64 / passed.as_secs_f64());
        }
    }
}
