//! A range of ports as one hash entry.
//!
//! A range of `n` ports belongs to class `k` where `2^k ≤ n < 2^(k+1)`. It is filed under the first multiple of `2^k`
//! that it holds: since `n ≥ 2^k` there is one, and since the ranges of a table do not overlap, no other range of the
//! class holds it. A port `p` of that range is at most one block below and one above it, so per class in use three
//! look-ups find the range of any port (one, for class 0: single ports), however many there are.

/// Number of classes: a range holds at most 65,536 ports.
pub const CLASSES: u8 = 17;

/// Ports `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The lowest port.
    pub first: u16,
    /// The highest port, itself included; never below `first`.
    pub last: u16,
}

impl Span {
    /// The class that the range belongs to.
    pub const fn class(self) -> u8 {
        (self.last as u32 - self.first as u32 + 1).ilog2() as u8
    }

    /// The block that the range is filed under.
    pub const fn block(self) -> u16 {
        let class = self.class();
        if class == 16 { 0 } else { (self.first as u32).div_ceil(1 << class) as u16 }
    }

    /// Whether two ranges share a port.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether the range holds `port`.
    #[inline(always)]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Number of ports.
    pub const fn ports(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }
}

/// Block that `port` lies in, for ranges of `class`; the range may be filed there, one below or one above.
#[inline(always)]
pub const fn block_of(port: u16, class: u8) -> u16 {
    ((port as u32) >> (class & 31)) as u16
}

/// Looks a port up in a table of ranges: `probe` is asked for every class set in `classes`, at each block that a range
/// holding the port may be filed under, and answers with what it found if that range does hold the port.
#[inline(always)]
pub fn search<R>(classes: u32, port: u16, mut probe: impl FnMut(u8, u16) -> Option<R>) -> Option<R> {
    let mut class = 0u8;
    while class < CLASSES {
        if classes >> class & 1 != 0 {
            let block = block_of(port, class);
            if let Some(found) = probe(class, block) {
                return Some(found);
            }
            if class != 0 {
                if let Some(found) = probe(class, block.wrapping_add(1)) {
                    return Some(found);
                }
                if let Some(found) = probe(class, block.wrapping_sub(1)) {
                    return Some(found);
                }
            }
        }
        class += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashMap;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn disjoint(cuts: Vec<u16>) -> Vec<Span> {
        let mut cuts: Vec<u32> = cuts.into_iter().map(u32::from).collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).step_by(2).map(|pair| Span { first: pair[0] as u16, last: (pair[1] - 1) as u16 }).collect()
    }

    fn find(table: &HashMap<(u8, u16), Span>, port: u16) -> Option<Span> {
        search(u32::MAX, port, |class, block| table.get(&(class, block)).copied().filter(|span| span.contains(port)))
    }

    #[test]
    fn sixteen_thousand_ports_are_one_entry() {
        let span = Span { first: 40_000, last: 55_999 };
        assert_eq!((span.class(), span.block()), (13, 5));
        assert_eq!(span.ports(), 16_000);
    }

    #[test]
    fn all_ports_are_one_entry() {
        let span = Span { first: 0, last: u16::MAX };
        assert_eq!((span.class(), span.block()), (16, 0));
    }

    proptest! {
        #[test]
        fn every_port_finds_its_range_and_no_other(cuts in prop::collection::vec(any::<u16>(), 2..40), more in prop::collection::vec(any::<u16>(), 50)) {
            let spans = disjoint(cuts);
            let mut table = HashMap::new();
            for span in &spans {
                prop_assert!(table.insert((span.class(), span.block()), *span).is_none(), "two ranges under one key");
            }
            let edges = spans.iter().flat_map(|s| [s.first, s.last, s.first.wrapping_sub(1), s.last.wrapping_add(1)]);
            for port in edges.chain(more) {
                let expected = spans.iter().copied().find(|span| span.contains(port));
                prop_assert_eq!(find(&table, port), expected);
            }
        }
    }
}
