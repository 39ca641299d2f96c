//! Any packets at every hook: `cargo xtask fuzz hooks`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
#[path = "seeds.rs"]
mod seeds;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(
    init: seeds::write(portlane_datapath::testing::fuzz::cases_for_hooks()),
    |data: &[u8]| portlane_datapath::testing::fuzz::hooks(data)
);

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    eprintln!("this build looks for nothing: type `cargo xtask fuzz hooks`");
    std::process::ExitCode::FAILURE
}
