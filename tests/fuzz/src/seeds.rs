//! Where a search begins: the table of cases as it is now, written to where libFuzzer reads.

use std::{env, fs, path::Path};

/// Folder that the cases are put into; without it, none are.
const FOLDER: &str = "PORTLANE_FUZZ_SEEDS";

/// Writes the cases, one a file. Panics where that cannot be done.
pub fn write(cases: Vec<Vec<u8>>) {
    let Some(folder) = env::var_os(FOLDER) else { return };
    for (number, case) in cases.iter().enumerate() {
        fs::write(Path::new(&folder).join(format!("case-{number}")), case).expect("a folder to write to");
    }
}
