//! Where a generator's choices come from: a seed, or bytes that proptest shrinks.

/// Choices. Zero is always the plainest one, and what comes after the end of a finite source.
pub trait Choices {
    /// The next byte.
    fn byte(&mut self) -> u8;

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        let mut number = usize::from(self.byte());
        if end > 256 {
            number = number << 8 | usize::from(self.byte());
        }
        number % end
    }

    /// Once in `times` times true.
    fn rarely(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// One of them.
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// 32 bits.
    fn word(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }
}

/// Choices from bytes, and zeros after them.
impl Choices for std::slice::Iter<'_, u8> {
    fn byte(&mut self) -> u8 {
        self.next().copied().unwrap_or_default()
    }
}

/// Choices from a seed.
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

impl Choices for Seeded {
    fn byte(&mut self) -> u8 {
        // SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 56) as u8
    }
}
