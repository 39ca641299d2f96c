//! Random sequences of packets through the host build: none breaks a promise of the NAT.
//!
//! Those of the root test `differential` are judged in the same way; these are other ones, and shrink.

use portlane_datapath::testing::{judge, plausible::sequence, world::Interfaces};
use proptest::prelude::*;

/// 20,000, unless `PORTLANE_SEQUENCES` says otherwise.
fn sequences() -> u32 {
    let wanted = std::env::var("PORTLANE_SEQUENCES");
    wanted.map_or(20_000, |wanted| wanted.parse().expect("PORTLANE_SEQUENCES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(sequences()) })]

    #[test]
    fn no_sequence_of_packets_breaks_a_promise_of_the_nat(choices in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Some(broken) = judge::broken(sequence(&mut choices.iter(), Interfaces::ANY)) {
            return Err(TestCaseError::fail(broken));
        }
    }
}
