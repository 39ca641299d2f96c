//! Packets, built and taken apart.
