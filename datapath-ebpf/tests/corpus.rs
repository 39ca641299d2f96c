//! The corpus of `cargo xtask fuzz`, and the table of cases that it begins with, without a search.

use std::{fs, path::Path};

use portlane_datapath::testing::fuzz;

/// Every input that was kept for a target.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).expect("the corpus is in the repository");
    let paths = files.map(|file| file.expect("a file of the corpus").path());
    paths.map(|path| (path.display().to_string(), fs::read(&path).expect("a file of the corpus"))).collect()
}

fn replay(target: &str, cases: Vec<Vec<u8>>, run: fn(&[u8])) {
    let kept = corpus(target);
    assert!(!kept.is_empty(), "no corpus for {target}");
    let cases = (1..).zip(cases).map(|(number, data): (u32, _)| (format!("{target}, case {number}"), data));
    for (name, data) in kept.into_iter().chain(cases) {
        // Captured, and shown with the panic of the one that fails.
        println!("{name}");
        run(&data);
    }
}

#[test]
fn the_parsers_read_what_was_kept() {
    replay("parse", fuzz::cases_for_parse(), fuzz::parse);
}

#[test]
fn the_hooks_meet_what_was_kept() {
    replay("hooks", fuzz::cases_for_hooks(), fuzz::hooks);
}
