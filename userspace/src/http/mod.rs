//! Requests over HTTP/JSON: [`Request`](crate::request::Request) ⇄ method, path and body; server and client of it.
//!
//! Answers are what `--json` prints; an error is `{"error": "<the sentence>"}`.

mod address;
mod client;
mod route;
mod server;
mod tls;

pub use address::{Address, AddressError};
pub use client::{Client, ClientError};
pub use route::Refusal;
pub use server::serve_connection;
pub use tls::{TlsError, TlsFiles};

/// Bytes of a body, either way: the largest answers are lists of flows.
const MAX_ANSWER: usize = 256 << 20;
/// Bytes of a request's body: a container with thousands of ports has less.
const MAX_REQUEST: usize = 1 << 20;
