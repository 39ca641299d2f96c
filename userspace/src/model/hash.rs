//! A hash that is the same in every version of portlane: names of bridges and addresses are made from it.

/// FNV-1a, 64 bits, its bits mixed once more so that short words differ in the high ones too.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // A part's length comes first: ["ab", "c"] is not ["a", "bc"].
        for byte in (part.len() as u64).to_le_bytes().iter().chain(*part) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    mix(hash)
}

/// The finalizer of splitmix64: a bijection in which every bit of the input moves half of the output's.
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
