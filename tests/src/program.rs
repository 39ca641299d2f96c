//! Loaded programs, run on packets.
