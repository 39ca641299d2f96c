//! Values that stay where they are: what is on a shelf can be lent out while more is put there, as from a BPF map.

use std::cell::{Cell, OnceCell};

/// Sections of a shelf; each has room for twice as much as the one before.
const SECTIONS: usize = 32;

/// A shelf, from which nothing is taken until it goes as a whole.
#[derive(Debug)]
pub struct Shelf<T> {
    sections: [OnceCell<Box<[OnceCell<T>]>>; SECTIONS],
    length: Cell<usize>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { sections: std::array::from_fn(|_| OnceCell::new()), length: Cell::new(0) }
    }
}

impl<T> Shelf<T> {
    /// Puts a value there; the number of its place.
    pub fn put(&self, value: T) -> usize {
        let place = self.length.replace(self.length.get() + 1);
        let (section, at) = find(place);
        let room = || (0..1_usize << section).map(|_| OnceCell::new()).collect();
        let free = self.sections[section].get_or_init(room)[at].set(value).is_ok();
        assert!(free, "every place is given out once");
        place
    }

    /// The value at a place that [`put`](Self::put) told.
    pub fn at(&self, place: usize) -> &T {
        let (section, at) = find(place);
        let value = self.sections[section].get().and_then(|section| section[at].get());
        value.expect("a place that was told has something in it")
    }
}

/// Section of a place, and where it is there.
fn find(place: usize) -> (usize, usize) {
    let section = (place + 1).ilog2();
    (section as usize, place + 1 - (1 << section))
}

#[cfg(test)]
mod tests {
    use super::Shelf;

    #[test]
    fn what_is_lent_stays_while_more_is_put_there() {
        let shelf = Shelf::default();
        let first = shelf.put("first".to_owned());
        let lent = shelf.at(first);
        let places: Vec<_> = (0..1000).map(|number: u32| shelf.put(number.to_string())).collect();
        assert_eq!(lent, "first");
        assert!((0..1000_u32).zip(places).all(|(number, place)| *shelf.at(place) == number.to_string()));
    }
}
