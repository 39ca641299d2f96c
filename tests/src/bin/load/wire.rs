//! What both sides say to each other.

/// The first byte of a TCP connection, which is also the first request: answer it and each that follows.
pub const RR: u8 = b'r';
/// Answer it and close.
pub const CONNECT: u8 = b'c';
/// Take all bytes until the other side is done; then say how many bytes came after the warm-up, and in how many
/// nanoseconds: two big-endian `u64`.
pub const SINK: u8 = b's';

/// The first byte of a UDP datagram that is counted. One of a single byte is sent back instead.
pub const COUNTED: u8 = b'c';
/// First of a question's two bytes; the second comes back in the answer, which tells answers apart.
pub const ASK: u8 = b'?';
/// Bytes of an answer: the question, and how many datagrams were counted so far as a big-endian `u64`.
pub const COUNT_BYTES: usize = 2 + 8;
/// Bytes of the answer to a stream.
pub const SINK_BYTES: usize = 8 + 8;

/// Payload of datagrams, in bytes.
pub struct Sizes {
    /// With a single byte it would be a request.
    pub least: usize,
    pub default: usize,
    /// 65,535 less the headers of IPv4 and UDP.
    pub most: usize,
}

pub const SIZES: Sizes = Sizes { least: 2, default: 64, most: 65_507 };

/// Bytes of one write to or read from a stream, as iperf3 has it.
pub const BLOCK: usize = 128 * 1024;

/// Two numbers in an answer's bytes.
pub fn pair(bytes: [u8; SINK_BYTES]) -> (u64, u64) {
    let both = u128::from_be_bytes(bytes);
    ((both >> 64) as u64, both as u64)
}

/// The bytes of two numbers.
pub fn pair_bytes(first: u64, second: u64) -> [u8; SINK_BYTES] {
    (u128::from(first) << 64 | u128::from(second)).to_be_bytes()
}
