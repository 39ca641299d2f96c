//! What a run is shown as: a table, JSON, pictures, and a comparison with an earlier one.

pub mod compare;
pub mod json;
pub mod number;
mod order;
pub mod ratio;
#[cfg(test)]
pub mod sample;
pub mod svg;
pub mod table;

/// What tells most about a path, and what something is aimed at in: from left to right where they stand side by side.
pub const METRICS: [&str; 5] = ["RR p50", "conn/s", "UDP 64 B", "stream, offloads off", "stream, GSO"];
