//! How every verb starts other programs: found on the same PATH, announced with a header, timed.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// Where the root of the workspace is: at run time, since a target directory may be shared by two checkouts.
pub fn workspace() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let xtask = PathBuf::from(xtask);
    xtask.parent().map(Path::to_path_buf).unwrap_or(xtask)
}

/// The path of this program, also after cargo has replaced the file by another build of it.
///
/// # Errors
/// When `/proc` isn't mounted.
pub fn this_program() -> Result<PathBuf> {
    let path = env::current_exe().context("cannot tell this program's own path")?;
    let name = path.to_string_lossy();
    Ok(name.strip_suffix(" (deleted)").map(PathBuf::from).unwrap_or_else(|| path.clone()))
}

/// A program that cargo has built beside this one.
///
/// # Errors
/// When `/proc` isn't mounted.
pub fn built(name: &str) -> Result<PathBuf> {
    Ok(this_program()?.with_file_name(name))
}

/// Where `cargo install` puts programs.
pub fn cargo_home() -> PathBuf {
    let default = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".cargo");
    env::var_os("CARGO_HOME").map(PathBuf::from).unwrap_or_else(default)
}

/// PATH for child processes: cargo's programs first (rustup's `cargo` does the same, so a plain `cargo build`
/// finds bpf-linker too), and the folders of `ip`, `nft` and `bpftool`, which a plain user's PATH lacks.
pub fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![cargo_home().join("bin")];
    folders.extend(env::split_paths(&path));
    folders.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut unique: Vec<PathBuf> = Vec::with_capacity(folders.len());
    for folder in folders {
        if !unique.contains(&folder) {
            unique.push(folder);
        }
    }
    env::join_paths(unique).unwrap_or(path)
}

/// Where a program lies on [`search_path`].
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A command that sees [`search_path`].
pub fn tool(program: &str) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.env("PATH", search_path());
    command
}

/// The cargo that started this program, in the workspace.
pub fn cargo() -> Command {
    let mut command = match env::var_os("CARGO") {
        Some(cargo) => Command::new(cargo),
        None => tool("cargo"),
    };
    command.env("PATH", search_path()).current_dir(workspace());
    command
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or does not end with 0; the sentence holds the command line.
pub fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// What a command printed, or `None` when it isn't there or failed.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Prints a header, does the step, prints how long it took.
///
/// # Errors
/// Those of the step.
pub fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("── {title}");
    io::stdout().flush().context("cannot write to stdout")?;
    let start = Instant::now();
    let result = work();
    let verdict = if result.is_ok() { "done" } else { "FAILED" };
    println!("   {title}: {verdict} in {:.1} s", start.elapsed().as_secs_f32());
    result
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = [program].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
