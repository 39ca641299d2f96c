//! Whether a sequence keeps the promises that [`super::promises`] knows.

use super::{
    promises::Model,
    sequence::{Event, Outcome, Play},
    wire::Wire,
};

/// The first promise that a sequence over [`super::world::Interfaces::ANY`] breaks, and how it came to that.
///
/// Behind its last event a plain packet of both ends of every conversation is met, and must come out at the other's.
pub fn broken(mut play: Play) -> Option<String> {
    let mut model = Model::default();
    for (number, (event, outcome)) in play.steps.iter().enumerate() {
        match (event, outcome) {
            (Event::Packet { at, bytes }, Some(outcome)) => {
                if let Err(broken) = model.packet(*at, bytes, outcome) {
                    return Some(told(&play, number, &broken));
                }
            }
            (Event::Change(change), _) => model.change(*change),
            _ => {}
        }
    }
    for (at, wire) in model.probes() {
        let bytes = wire.bytes();
        let outcome = play.happen(Event::Packet { at, bytes: bytes.clone() }).cloned();
        if let Some(Err(broken)) = outcome.map(|outcome| model.packet(at, &bytes, &outcome)) {
            return Some(told(&play, play.steps.len() - 1, &broken));
        }
    }
    None
}

fn told(play: &Play, until: usize, broken: &str) -> String {
    let steps: Vec<_> = play.steps[..=until].iter().enumerate().map(|(at, step)| tell(at, step)).collect();
    format!("{}\nthe last: {broken}", steps.join("\n"))
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
