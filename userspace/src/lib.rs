//! portlane's control plane.
pub mod bpf;
pub mod cli;
pub mod engine;
pub mod linux;
pub mod model;
pub mod store;
