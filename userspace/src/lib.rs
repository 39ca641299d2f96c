//! portlane's control plane.
//!
//! A command's way: [`cli`] reads arguments, [`engine`] opens the [`store`] under a lock, [`model`] turns the request
//! into a new state and a plan, and the drivers [`linux`] and [`bpf`] carry the plan out.

pub mod bpf;
pub mod cli;
pub mod daemon_json;
pub mod engine;
pub mod linux;
pub mod model;
pub mod progress;
pub mod service;
pub mod store;
