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
