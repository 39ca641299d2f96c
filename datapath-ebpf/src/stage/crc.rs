//! SCTP's checksum, a CRC32c of the whole packet (RFC 9260 appendix A), after its ports changed.
//!
//! A CRC is linear: what a change of four bytes makes to it depends on the change and on how many bytes follow, and not
//! on what those are. So a packet's payload is never looked at, however long it is or wherever it lies.

/// Castagnoli's polynomial, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Bits that count the bytes of a packet.
const LENGTH_BITS: usize = 16;

/// Half bytes of a word.
const NIBBLES: usize = 8;
/// Values of a half byte, and one in reserve: with rows of 64 bytes LLVM would join the indices by OR, of whose result
/// kernels before 6.8 know nothing (`verifier: math between map_value pointer and register with unbounded min value`).
const ROW: usize = if cfg!(feature = "broken") { 16 } else { 16 + 1 };

/// What appending `2^k` zero bytes, or none, makes of each half byte of a CRC, in `APPEND[k][1 or 0][place][half byte]`:
/// no branch for the verifier to follow both ways, and no step for each bit.
static APPEND: [[[[u32; ROW]; NIBBLES]; 2]; LENGTH_BITS] = {
    let mut tables = [[[[0; ROW]; NIBBLES]; 2]; LENGTH_BITS];
    // x to the power of 8: the highest bit is the lowest power.
    let mut shift = 0x0080_0000;
    let mut k = 0;
    while k < LENGTH_BITS {
        let mut place = 0;
        while place < NIBBLES {
            let mut half = 0;
            while half < 16 {
                tables[k][0][place][half as usize] = half << (4 * place);
                tables[k][1][place][half as usize] = multiply(half << (4 * place), shift);
                half += 1;
            }
            place += 1;
        }
        shift = multiply(shift, shift);
        k += 1;
    }
    tables
};

/// Product of two polynomials modulo Castagnoli's.
const fn multiply(mut a: u32, b: u32) -> u32 {
    let mut product = 0;
    let mut power = b;
    while a != 0 {
        if a & 0x8000_0000 != 0 {
            product ^= power;
        }
        a <<= 1;
        power = if power & 1 == 0 { power >> 1 } else { power >> 1 ^ POLYNOMIAL };
    }
    product
}

/// What changing four bytes by `change` (old and new, exclusive or, as read in little-endian order) makes to the CRC of
/// a packet in which `behind` bytes follow them; to be applied by exclusive or, in little-endian order too.
#[inline(always)]
pub fn difference(change: u32, behind: u32) -> u32 {
    // Behind the change itself, its own four bytes.
    let bytes = behind.wrapping_add(4) & 0xffff;
    let mut crc = change;
    let mut k = 0;
    while k < LENGTH_BITS {
        let table = &APPEND[k & (LENGTH_BITS - 1)][(bytes >> k & 1) as usize];
        let mut sum = 0;
        let mut place = 0;
        while place < NIBBLES {
            sum ^= table[place & (NIBBLES - 1)][(crc >> (4 * place)) as usize & 15];
            place += 1;
        }
        crc = sum;
        k += 1;
    }
    crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::checksum::crc32c;

    #[test]
    fn the_checksum_is_rfc_9260s() {
        // RFC 3720 B.4: 32 bytes of zeroes, and of ones.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    proptest! {
        #[test]
        fn a_changed_beginning_changes_the_crc_as_foretold(old in any::<[u8; 4]>(), new in any::<[u8; 4]>(), rest in prop::collection::vec(any::<u8>(), 0..3000)) {
            let whole = |start: [u8; 4]| crc32c(&[&start[..], &rest].concat());
            let change = u32::from_le_bytes(old) ^ u32::from_le_bytes(new);
            prop_assert_eq!(whole(old) ^ whole(new), difference(change, rest.len() as u32));
        }
    }
}
