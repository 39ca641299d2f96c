//! The stages that hooks are made of.

pub mod cone;
pub mod crc;
pub mod flow;
pub mod fragment;
pub mod guard;
pub mod handshake;
pub mod icmp;
pub mod nat;
pub mod open;
pub mod parse;
pub mod policy;
pub mod publish;
pub mod rewrite;
pub mod route;
pub mod transfer;
