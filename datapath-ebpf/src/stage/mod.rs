//! The stages that hooks are made of.

pub mod flow;
pub mod guard;
pub mod nat;
pub mod parse;
pub mod policy;
pub mod publish;
pub mod rewrite;
pub mod route;
