//! portlane's control plane.
//!
//! A command's way: [`cli`] reads arguments into a [`request`], [`engine`] opens the [`store`] under a lock, [`model`] turns
//! the request into a new state and a plan, and the drivers [`linux`] and [`bpf`] carry the plan out. Over [`http`] the same
//! requests come to [`service`], `portlane daemon`.

pub mod bpf;
pub mod cli;
pub mod daemon_json;
pub mod engine;
pub mod http;
pub mod linux;
pub mod model;
mod parallel;
pub mod progress;
pub mod request;
pub mod service;
pub mod store;
