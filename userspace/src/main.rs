//! `portlane`: see the library's documentation for a command's way.

use std::process::ExitCode;

fn main() -> ExitCode {
    portlane::cli::main(std::env::args_os())
}
