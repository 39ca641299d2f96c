//! Tools of the root tests.
