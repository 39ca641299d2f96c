//! Random sequences of packets through the host build: none breaks a promise of the NAT.
//!
//! After each, a plain packet of both ends of every conversation is met, and must come out at the other's.

use portlane_datapath::testing::{
    plausible::sequence,
    promises::Model,
    sequence::{Event, Outcome, Play},
    wire::Wire,
    world::Interfaces,
};
use proptest::prelude::*;

/// The first promise that is broken, and how it came to that.
fn check(choices: &[u8]) -> Result<(), String> {
    let mut play = sequence(&mut choices.iter(), Interfaces::ANY);
    let mut model = Model::default();
    let told = |play: &Play, until: usize, broken: String| {
        let steps: Vec<_> = play.steps[..=until].iter().enumerate().map(|(at, step)| tell(at, step)).collect();
        format!("{}\nthe last: {broken}", steps.join("\n"))
    };
    for (number, (event, outcome)) in play.steps.iter().enumerate() {
        match (event, outcome) {
            (Event::Packet { at, bytes }, Some(outcome)) => {
                model.packet(*at, bytes, outcome).map_err(|broken| told(&play, number, broken))?;
            }
            (Event::Change(change), _) => model.change(*change),
            _ => {}
        }
    }
    for (at, wire) in model.probes() {
        let bytes = wire.bytes();
        let outcome = play.happen(Event::Packet { at, bytes: bytes.clone() }).cloned().expect("it is a packet");
        model.packet(at, &bytes, &outcome).map_err(|broken| told(&play, play.steps.len() - 1, broken))?;
    }
    Ok(())
}

fn tell(number: usize, (event, outcome): &(Event, Option<Outcome>)) -> String {
    let read = |bytes: &[u8]| Wire::read(bytes).map_or_else(|| format!("{bytes:02x?}"), |wire| format!("{wire:?}"));
    match (event, outcome) {
        (Event::Packet { at, bytes }, Some(outcome)) => {
            format!("{number}: {at:?} {}\n   {:?} {}", read(bytes), outcome.verdict, read(&outcome.bytes))
        }
        _ => format!("{number}: {event:?}"),
    }
}

/// 20,000, unless `PORTLANE_SEQUENCES` says otherwise.
fn sequences() -> u32 {
    let wanted = std::env::var("PORTLANE_SEQUENCES");
    wanted.map_or(20_000, |wanted| wanted.parse().expect("PORTLANE_SEQUENCES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(sequences()) })]

    #[test]
    fn no_sequence_of_packets_breaks_a_promise_of_the_nat(choices in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Err(broken) = check(&choices) {
            return Err(TestCaseError::fail(broken));
        }
    }
}
