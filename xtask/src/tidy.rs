//! House rules that no lint knows, as code. Each is a sentence in the table or function that enforces it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::source::{code_only, imports, names};

mod rules {
    /// Longer files hide more than one subject.
    pub const MAX_LINES: usize = 450;
    /// Where `unsafe` may be: kernel helpers, the Pod promises, system calls.
    pub const UNSAFE: [&str; 3] = ["datapath-ebpf/src/kernel", "common/src/plain.rs", "userspace/src/linux"];
    /// The model is a pure value.
    pub const MODEL: &str = "userspace/src/model";
    /// What a pure value knows nothing of: files, sockets, processes, clocks, the kernel.
    pub const NOT_IN_MODEL: [&str; 17] = [
        "std::fs",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "std::time",
        "SystemTime",
        "Instant",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "tokio",
        "rtnetlink",
        "redb",
        "aya",
        "nix",
        "libc",
    ];
    /// Modules have errors of their own; only where a person reads the chain may it be `anyhow`.
    pub const ANYHOW: [&str; 5] =
        ["userspace/src/cli", "userspace/src/cli.rs", "userspace/src/main.rs", "xtask", "tests"];
    /// Homes of build machines. (Split, or this file would break its own rule.)
    pub const MACHINE_PATHS: [&str; 2] = [concat!("/", "work"), concat!("/", "root")];
}

/// What is wrong in the checkout at `root`, a line each: `path:line: sentence`.
///
/// # Errors
/// When a file or folder cannot be read.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    walk(root, &mut files)?;
    files.sort();
    let mut faults = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let path = file.strip_prefix(root).unwrap_or(&file);
        let found = file_faults(path, &text);
        faults.extend(found.into_iter().map(|(line, fault)| format!("{}:{line}: {fault}", path.display())));
    }
    Ok(faults)
}

/// Texts of ours: Rust, Cargo's files, documents, and scripts under `.ci`.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let path = entry.path();
        let kind = entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
        let name = entry.file_name();
        if kind.is_dir() && name != "target" && name != ".git" {
            walk(&path, files)?;
        } else if kind.is_file() && (is_text(&path) || folder.file_name().is_some_and(|name| name == ".ci")) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["rs", "toml", "md", "yml"].iter().any(|known| extension == *known))
}

/// Faults of one file, `path` being relative to the workspace: (line, sentence).
fn file_faults(path: &Path, text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for (line, words) in numbered(text) {
        for machine in rules::MACHINE_PATHS.iter().filter(|machine| names(words, machine)) {
            faults.push((line, format!("`{machine}` exists on one machine only")));
        }
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        rust_faults(path, text, &mut faults);
    }
    faults
}

fn rust_faults(path: &Path, text: &str, faults: &mut Vec<(usize, String)>) {
    let within = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    if !text.starts_with("//!") {
        faults.push((1, "the first line says what the file is for: `//! …`".to_owned()));
    }
    let lines = text.lines().count();
    if lines > rules::MAX_LINES {
        faults.push((lines, format!("{lines} lines: split the file, {} are the most", rules::MAX_LINES)));
    }

    let code = code_only(text);
    let anyhow_allowed = within(&rules::ANYHOW) || path.file_name().is_some_and(|name| name == "build.rs");
    for (line, words) in numbered(&code) {
        if names(words, "todo!") {
            faults.push((line, "`todo!` panics: write it, or leave it out".to_owned()));
        }
        if names(words, "unsafe") && !within(&rules::UNSAFE) {
            faults.push((line, format!("`unsafe` is only allowed in {}", rules::UNSAFE.join(", "))));
        }
        if names(words, "anyhow") && !anyhow_allowed {
            faults
                .push((line, "`anyhow` outside main, cli, xtask and tests: give the module an error type".to_owned()));
        }
    }

    if within(&[rules::MODEL]) {
        let imports = imports(&code);
        for word in rules::NOT_IN_MODEL {
            let written = numbered(&code).filter(|(_, words)| names(words, word)).map(|(line, _)| line);
            let imported =
                imports.iter().filter(|(_, path)| word.contains("::") && names(path, word)).map(|(line, _)| *line);
            let lines: BTreeSet<usize> = written.chain(imported).collect();
            faults.extend(
                lines.into_iter().map(|line| (line, format!("the model is a pure value: it knows no `{word}`"))),
            );
        }
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{file_faults, rules};

    const NONE: [usize; 0] = [];

    /// The lines at which `text`, as the file `path`, breaks a rule.
    fn lines(path: &str, text: &str) -> Vec<usize> {
        file_faults(Path::new(path), text).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn the_hosted_workflow_runs_on_every_kernel_of_the_matrix() {
        let workflow = include_str!("../../.github/workflows/ci.yml");
        let kernels = format!("kernel: {:?}\n", crate::vm::MATRIX);
        assert!(workflow.contains(&kernels), "ci.yml has no line `{}`", kernels.trim());
    }

    #[test]
    fn unsafe_stays_where_it_belongs() {
        let text = "//! x\nfn f() { unsafe { g() } }\n";
        assert_eq!(lines("userspace/src/engine.rs", text), [2]);
        assert_eq!(lines("userspace/src/linux/netns.rs", text), NONE);
        assert_eq!(lines("datapath-ebpf/src/kernel/tc.rs", text), NONE);
        assert_eq!(lines("datapath-ebpf/src/kernels.rs", text), [2]);
        assert_eq!(lines("common/src/plain.rs", text), NONE);
        assert_eq!(
            lines("common/src/lib.rs", "//! x\n#![deny(unsafe_code)] // unsafe\nconst A: &str = \"unsafe\";\n"),
            NONE
        );
    }

    #[test]
    fn the_model_knows_no_outside_world() {
        let model = "userspace/src/model/plan.rs";
        assert_eq!(lines(model, "//! x\nuse std::fs;\n"), [2]);
        assert_eq!(lines(model, "//! x\nuse std::{collections::BTreeMap, time::Duration};\n"), [2]);
        assert_eq!(lines(model, "//! x\nuse std::{net::{IpAddr,\n  UdpSocket}};\n"), [3]);
        assert_eq!(lines(model, "//! x\nfn f(t: std::time::Instant) {}\n"), [2, 2]);
        assert_eq!(lines(model, "//! x\nuse aya::Pod;\n"), [2]);
        assert_eq!(lines(model, "//! x, like tokio\nuse std::net::{IpAddr, Ipv4Addr};\nstruct Processes;\n"), NONE);
        assert_eq!(lines("userspace/src/engine.rs", "//! x\nuse std::fs;\n"), NONE);
    }

    #[test]
    fn anyhow_is_for_people() {
        let text = "//! x\nuse anyhow::Result;\n";
        assert_eq!(lines("userspace/src/store.rs", text), [2]);
        assert_eq!(lines("userspace/src/cli/run.rs", text), NONE);
        assert_eq!(lines("userspace/src/main.rs", text), NONE);
        assert_eq!(lines("userspace/build.rs", text), NONE);
        assert_eq!(lines("xtask/src/test.rs", text), NONE);
    }

    #[test]
    fn files_are_short_and_introduce_themselves() {
        assert_eq!(lines("common/src/a.rs", "use b;\n//! x\n"), [1]);
        let long = |count: usize| format!("//! x\n{}", "const A: u8 = 0;\n".repeat(count - 1));
        assert_eq!(lines("common/src/a.rs", &long(rules::MAX_LINES)), NONE);
        assert_eq!(lines("common/src/a.rs", &long(rules::MAX_LINES + 1)), [rules::MAX_LINES + 1]);
    }

    #[test]
    fn nothing_names_a_build_machine_or_a_gap() {
        let [machine, home] = rules::MACHINE_PATHS;
        assert_eq!(lines("README.md", &format!("see {machine}/main\n\"{home}\": x\n")), [1, 2]);
        assert_eq!(lines("README.md", &format!(".{machine} {machine}shop tests{home} --features a{home}\n")), NONE);
        assert_eq!(lines("tests/a.rs", "//! x\nfn f() { todo!() }\n"), [2]);
    }
}
