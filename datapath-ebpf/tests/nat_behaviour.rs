//! docs/nat-behaviour.md: every clause has its row, and what is said to be met is shown by a test that exists.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The clauses of each RFC, in the order of their rows.
const CLAUSES: [(&str, &str); 4] = [
    (
        "RFC 4787",
        "REQ-1, REQ-2, REQ-3, REQ-3a, REQ-4, REQ-5, REQ-5a, REQ-5b, REQ-5c, REQ-6, REQ-6a, REQ-7, REQ-8, REQ-8a, REQ-9, \
         REQ-9a, REQ-10, REQ-10a, REQ-11, REQ-12, REQ-12a, REQ-12b, REQ-13, REQ-13a, REQ-14, REQ-14a",
    ),
    (
        "RFC 5382",
        "REQ-1, REQ-2, REQ-2a, REQ-3, REQ-3a, REQ-3b, REQ-4, REQ-4a, REQ-5, REQ-5a, REQ-6, REQ-7, REQ-8, REQ-8a, REQ-9, \
         REQ-10",
    ),
    (
        "RFC 5508",
        "REQ-1, REQ-1a, REQ-2, REQ-2a, REQ-3, REQ-3a, REQ-3b, REQ-3c, REQ-3d, REQ-4, REQ-4a, REQ-4b, REQ-4c, REQ-5, \
         REQ-5a, REQ-5b, REQ-5c, REQ-6, REQ-7, REQ-7a, REQ-8, REQ-9, REQ-10, REQ-10a.1, REQ-10a.2, REQ-10a.3, REQ-10b, \
         REQ-10c.1, REQ-10c.2, REQ-10d, REQ-10e, REQ-10f, REQ-11",
    ),
    (
        "RFC 7857",
        "§2, §2.1 (1), §2.1 (2), §2.1 (3), §2.2 (1), §2.2 (2), §3, §4 (1), §4 (2), §4 (3), §5 (1), §5 (2), §6 (1), \
         §6 (2), §7 (1), §7 (2), §7.1 (1), §7.1 (2), §8 (1), §8 (2), §9, §10, §11, §12 (1), §12 (2)",
    ),
];

/// A row of one of the tables.
struct Row {
    rfc: String,
    clause: String,
    verdict: String,
    shown_by: String,
}

impl Row {
    fn is_met(&self) -> bool {
        self.verdict.starts_with("met")
    }

    /// What stands between backticks in the last column.
    fn tests(&self) -> Vec<&str> {
        self.shown_by.split('`').skip(1).step_by(2).collect()
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(workspace().join("docs/nat-behaviour.md")).expect("the document");
    let mut rows = Vec::new();
    let mut rfc = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            rfc = title.split(" (").next().unwrap_or_default();
        }
        let Some(cells) = line.strip_prefix('|') else { continue };
        let cells: Vec<&str> = cells.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
        let [clause, asks, verdict, shown_by] = cells[..] else { panic!("not four columns: {line}") };
        if clause == "Clause" || clause.starts_with("---") {
            continue;
        }
        assert!(!asks.is_empty(), "{rfc} {clause} asks for nothing");
        let [rfc, clause, verdict, shown_by] = [rfc, clause, verdict, shown_by].map(str::to_owned);
        rows.push(Row { rfc, clause, verdict, shown_by });
    }
    rows
}

/// All faults at once: a document is mended in one go.
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Rust files of a folder and of those in it.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Names of all test functions of the workspace, wherever they are: a test of the host's build or one that needs root.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for member in fs::read_dir(workspace()).expect("the workspace").map(|entry| entry.expect("an entry").path()) {
        if member.join("Cargo.toml").is_file() {
            ["src", "tests"].iter().for_each(|folder| sources(&member.join(folder), &mut files));
        }
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            // Those in a `proptest!` block have the attribute, too.
            if line == "#[test]" {
                is_test = true;
            } else if let Some(rest) = line.strip_prefix("fn ") {
                if is_test {
                    names.insert(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
                }
                is_test = false;
            } else if !line.starts_with("#[") && !line.starts_with("//") {
                is_test = false;
            }
        }
    }
    names
}

#[test]
fn every_clause_of_the_rfcs_has_one_row() {
    let rows = rows();
    for (rfc, clauses) in CLAUSES {
        let written: Vec<&str> = rows.iter().filter(|row| row.rfc == rfc).map(|row| row.clause.as_str()).collect();
        assert_eq!(written, clauses.split(", ").collect::<Vec<_>>(), "{rfc}");
    }
    let known = |row: &&Row| CLAUSES.iter().any(|(rfc, _)| *rfc == row.rfc);
    assert_eq!(rows.iter().filter(known).count(), rows.len(), "rows of another RFC");
}

#[test]
fn what_is_not_met_has_a_reason() {
    let mut faults = Vec::new();
    for Row { rfc, clause, verdict, shown_by } in rows() {
        let reason = verdict.strip_prefix("not met: ");
        if !matches!(&*verdict, "met" | "met (option)") && reason.is_none_or(str::is_empty) {
            faults.push(format!("{rfc} {clause} is `{verdict}`: write `met`, `met (option)` or `not met: why`"));
        }
        if reason.is_some() && !shown_by.is_empty() {
            faults.push(format!("{rfc} {clause} is not met, and yet shown by {shown_by}"));
        }
    }
    assert_none(&faults);
}

#[test]
fn what_is_met_is_shown_by_tests_that_exist() {
    let tests = tests();
    let mut faults = Vec::new();
    for row in rows().iter().filter(|row| row.is_met()) {
        let (rfc, clause, named) = (&row.rfc, &row.clause, row.tests());
        if named.is_empty() {
            faults.push(format!("{rfc} {clause} is shown by no test: {}", row.shown_by));
        }
        let missing = named.iter().filter(|name| !tests.contains(**name));
        faults.extend(missing.map(|name| format!("{rfc} {clause} is shown by `{name}`, which is no test")));
    }
    assert_none(&faults);
}

#[test]
fn nothing_is_left_to_be_shown() {
    let left = rows().into_iter().filter(|row| row.shown_by.contains("TODO"));
    assert_none(&left.map(|row| format!("{} {}: {}", row.rfc, row.clause, row.shown_by)).collect::<Vec<_>>());
}
