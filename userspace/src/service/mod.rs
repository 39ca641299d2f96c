//! What needs a process that stays: `portlane daemon`.

pub mod dns;
