//! One record of aya-log-ebpf 0.2, as it lies in the ring buffer.
//!
//! Two bytes of length, six header fields, then the message's pieces. A field is a kind (one byte), a length (two
//! bytes, the machine's order) and that many bytes. aya-log's own reader of this format needs a newer Rust.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use log::Level;

/// A message of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How grave.
    pub level: Level,
    /// The module that says it.
    pub target: String,
    /// What it says.
    pub text: String,
}

/// `aya_log_common::RecordFieldKind`.
mod field {
    pub const TARGET: u8 = 0;
    pub const LEVEL: u8 = 1;
    pub const NUM_ARGS: u8 = 5;
    pub const COUNT: usize = 6;
}

/// `aya_log_common::ArgumentKind`.
mod argument {
    pub const DISPLAY_HINT: u8 = 0;
    pub const I8: u8 = 1;
    pub const ISIZE: u8 = 5;
    pub const U8: u8 = 6;
    pub const USIZE: u8 = 10;
    pub const F32: u8 = 11;
    pub const F64: u8 = 12;
    pub const IPV4: u8 = 13;
    pub const IPV6: u8 = 14;
    pub const ARRAY_4: u8 = 15;
    pub const ARRAY_6: u8 = 16;
    pub const ARRAY_16: u8 = 17;
    pub const WORDS_8: u8 = 18;
    pub const BYTES: u8 = 19;
    pub const STR: u8 = 20;
    pub const POINTER: u8 = 21;
}

/// `aya_log_common::DisplayHint`.
mod hint {
    pub const DEFAULT: u8 = 1;
    pub const LOWER_HEX: u8 = 2;
    pub const UPPER_HEX: u8 = 3;
    pub const IP: u8 = 4;
    pub const UPPER_MAC: u8 = 6;
}

/// Reads a record; `None` if it is none.
pub fn decode(record: &[u8]) -> Option<Message> {
    let length = usize::from(u16::from_ne_bytes(*record.first_chunk()?));
    let mut rest = record.get(2..length)?;
    let (mut target, mut level, mut pieces) = (String::new(), Level::Info, 0);
    for _ in 0..field::COUNT {
        let (kind, value) = next(&mut rest)?;
        match kind {
            field::TARGET => target = String::from_utf8_lossy(value).into_owned(),
            field::LEVEL => level = Level::iter().nth(usize::from(*value.first()?).checked_sub(1)?)?,
            field::NUM_ARGS => pieces = u32::from_ne_bytes(value.try_into().ok()?),
            _ => {}
        }
    }
    let (mut text, mut hint) = (String::new(), hint::DEFAULT);
    for _ in 0..pieces {
        let (kind, value) = next(&mut rest)?;
        if kind == argument::DISPLAY_HINT {
            hint = *value.first()?;
        } else {
            write_piece(&mut text, kind, value, hint)?;
            hint = hint::DEFAULT;
        }
    }
    Some(Message { level, target, text })
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (head, tail) = rest.split_first_chunk::<3>()?;
    let (value, tail) = tail.split_at_checked(usize::from(u16::from_ne_bytes([head[1], head[2]])))?;
    *rest = tail;
    Some((head[0], value))
}

fn write_piece(text: &mut String, kind: u8, value: &[u8], hint: u8) -> Option<()> {
    match kind {
        argument::STR => text.push_str(&String::from_utf8_lossy(value)),
        argument::IPV4 | argument::ARRAY_4 => write!(text, "{}", Ipv4Addr::from_octets(value.try_into().ok()?)).ok()?,
        argument::IPV6 | argument::ARRAY_16 | argument::WORDS_8 => {
            write!(text, "{}", Ipv6Addr::from_octets(value.try_into().ok()?)).ok()?;
        }
        argument::ARRAY_6 | argument::BYTES => {
            let separator = if kind == argument::ARRAY_6 { ":" } else { "" };
            let upper = matches!(hint, hint::UPPER_MAC | hint::UPPER_HEX);
            let hex = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
            text.push_str(&value.iter().map(hex).collect::<Vec<_>>().join(separator));
        }
        argument::F32 => write!(text, "{}", f32::from_ne_bytes(value.try_into().ok()?)).ok()?,
        argument::F64 => write!(text, "{}", f64::from_ne_bytes(value.try_into().ok()?)).ok()?,
        argument::POINTER => write!(text, "{:#x}", unsigned(value)?).ok()?,
        argument::I8..=argument::ISIZE | argument::U8..=argument::USIZE => {
            let number = unsigned(value)?;
            match hint {
                hint::LOWER_HEX => write!(text, "{number:x}").ok()?,
                hint::UPPER_HEX => write!(text, "{number:X}").ok()?,
                hint::IP => write!(text, "{}", Ipv4Addr::from_bits(u32::try_from(number).ok()?)).ok()?,
                _ if kind >= argument::U8 => write!(text, "{number}").ok()?,
                _ => write!(text, "{}", signed(number, value.len())).ok()?,
            }
        }
        _ => return None,
    }
    Some(())
}

/// An integer of one to eight bytes.
fn unsigned(value: &[u8]) -> Option<u64> {
    Some(match value.len() {
        1 => u64::from(value[0]),
        2 => u64::from(u16::from_ne_bytes(value.try_into().ok()?)),
        4 => u64::from(u32::from_ne_bytes(value.try_into().ok()?)),
        8 => u64::from_ne_bytes(value.try_into().ok()?),
        _ => return None,
    })
}

/// The same bits with a sign, of an integer of `bytes` bytes.
const fn signed(number: u64, bytes: usize) -> i64 {
    let unused = 64 - 8 * bytes as u32;
    (number << unused).cast_signed() >> unused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pieces: &[(u8, &[u8])]) -> Vec<u8> {
        let count = (pieces.len() as u32).to_ne_bytes();
        let header: [(u8, &[u8]); 6] =
            [(0, b"datapath::nat"), (1, &[2]), (2, b"datapath::nat"), (3, b"nat.rs"), (4, &[7, 0, 0, 0]), (5, &count)];
        let mut bytes = vec![0, 0];
        for (kind, value) in header.iter().chain(pieces) {
            bytes.push(*kind);
            bytes.extend((value.len() as u16).to_ne_bytes());
            bytes.extend(*value);
        }
        let length = (bytes.len() as u16).to_ne_bytes();
        bytes[..2].copy_from_slice(&length);
        // The ring buffer's slot is larger than the record.
        bytes.resize(bytes.len().next_power_of_two(), 0xaa);
        bytes
    }

    #[test]
    fn a_message_reads_as_it_was_written() {
        let check = |pieces: &[(u8, &[u8])], text: &str| {
            let message = decode(&record(pieces)).expect("a record");
            assert_eq!(
                (message.level, message.target.as_str(), message.text.as_str()),
                (Level::Warn, "datapath::nat", text)
            );
        };
        check(&[], "");
        check(
            &[(20, b"no port for "), (0, &[4]), (8, &0x0a00_0001u32.to_ne_bytes()), (20, b"!")],
            "no port for 10.0.0.1!",
        );
        check(&[(0, &[1]), (2, &(-5i16).to_ne_bytes())], "-5");
        check(&[(0, &[2]), (7, &0xbeefu16.to_ne_bytes()), (0, &[1]), (6, &[9])], "beef9");
        check(&[(0, &[5]), (16, &[2, 0x42, 0xac, 0, 0, 1])], "02:42:ac:00:00:01");
        check(&[(0, &[3]), (19, &[0xde, 0xad])], "DEAD");
        check(&[(0, &[1]), (14, &Ipv6Addr::LOCALHOST.octets())], "::1");
    }

    #[test]
    fn what_is_cut_short_is_no_message() {
        let whole = record(&[(20, b"text")]);
        let length = usize::from(u16::from_ne_bytes([whole[0], whole[1]]));
        for end in 0..length {
            assert_eq!(decode(&whole[..end]), None, "{end} bytes");
        }
    }
}
