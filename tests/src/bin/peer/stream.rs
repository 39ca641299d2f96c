//! Long streams of bytes that tell by their hash whether they came through whole and in order.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

/// Bytes written and read at a time: a whole number of [`Generator`]'s words.
const CHUNK: usize = 1 << 16;

/// What one end is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send the bytes.
    Send,
    /// Receive them.
    Receive,
}

/// How many bytes go which way; what a client tells a server first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    pub order: Order,
    pub bytes: u64,
    pub seed: u64,
}

impl Job {
    /// What the other end does meanwhile.
    pub fn reversed(self) -> Self {
        let order = if self.order == Order::Send { Order::Receive } else { Order::Send };
        Self { order, ..self }
    }

    pub fn write(self, stream: &mut TcpStream) -> io::Result<()> {
        for number in [u64::from(self.order == Order::Send), self.bytes, self.seed] {
            stream.write_all(&number.to_be_bytes())?;
        }
        Ok(())
    }

    pub fn read(stream: &mut TcpStream) -> io::Result<Self> {
        let mut number = || {
            let mut bytes = [0; 8];
            stream.read_exact(&mut bytes).map(|()| u64::from_be_bytes(bytes))
        };
        let order = if number()? == 1 { Order::Send } else { Order::Receive };
        Ok(Self { order, bytes: number()?, seed: number()? })
    }

    /// Does this end's part. Returns the hash of what this end sent or received, and that of what the other end did.
    pub fn carry_out(self, stream: &mut TcpStream) -> io::Result<(u64, u64)> {
        let mut hash = Hash::new();
        let mut generator = Generator(self.seed);
        let mut buffer = vec![0; CHUNK];
        let mut left = self.bytes;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let chunk = &mut buffer[..length];
            match self.order {
                Order::Send => {
                    generator.fill(chunk);
                    stream.write_all(chunk)?;
                }
                Order::Receive => stream.read_exact(chunk)?,
            }
            hash.add(chunk);
            left -= length as u64;
        }
        stream.write_all(&hash.0.to_be_bytes())?;
        let mut other = [0; 8];
        stream.read_exact(&mut other)?;
        Ok((hash.0, u64::from_be_bytes(other)))
    }
}

/// Bytes that do not repeat: Marsaglia's xorshift64, eight at a time.
#[derive(Debug)]
struct Generator(u64);

impl Generator {
    fn fill(&mut self, chunk: &mut [u8]) {
        for word in chunk.chunks_mut(8) {
            self.0 |= u64::from(self.0 == 0);
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }
}

/// FNV-1a, over words instead of bytes: a debug build hashes 100 MB in a fraction of a second.
#[derive(Debug)]
struct Hash(u64);

impl Hash {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, chunk: &[u8]) {
        for part in chunk.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Generator, Hash};

    #[test]
    fn one_changed_or_misplaced_byte_changes_the_hash() {
        let hash = |bytes: &[u8]| {
            let mut hash = Hash::new();
            hash.add(bytes);
            hash.0
        };
        let mut bytes = vec![0; CHUNK + 3];
        Generator(7).fill(&mut bytes);
        let whole = hash(&bytes);
        bytes[CHUNK + 1] ^= 1;
        assert_ne!(hash(&bytes), whole);
        bytes[CHUNK + 1] ^= 1;
        assert_eq!(hash(&bytes), whole);
        bytes.swap(8, 16);
        assert_ne!(hash(&bytes), whole);
    }
}
