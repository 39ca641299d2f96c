//! Any bytes through every parser: `cargo xtask fuzz parse`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
#[path = "seeds.rs"]
mod seeds;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(
    init: seeds::write(portlane_datapath::testing::fuzz::cases_for_parse()),
    |data: &[u8]| portlane_datapath::testing::fuzz::parse(data)
);

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    eprintln!("this build looks for nothing: type `cargo xtask fuzz parse`");
    std::process::ExitCode::FAILURE
}
