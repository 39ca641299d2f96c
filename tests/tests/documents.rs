//! Documents that say what portlane does, and with which tests it shows that: every RFC's clause has its row, and what is
//! said to be so is shown by a test that exists.

use std::{
    collections::BTreeSet,
    fmt, fs,
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

/// What kind of NAT this is, clause by clause of the RFCs.
const NAT: &str = "docs/nat-behaviour.md";
/// What Docker's users know, behaviour by behaviour.
const DOCKER: &str = "docs/docker-behaviour.md";

/// A row of one of the tables.
struct Row {
    document: &'static str,
    section: String,
    name: String,
    verdict: String,
    shown_by: String,
}

impl Row {
    /// For what is so, whether or not somebody else does it otherwise, there are tests.
    fn is_shown(&self) -> bool {
        matches!(&*self.verdict, "met" | "met (option)") || self.reason("differs: ").is_some()
    }

    /// For what is not so, there is a reason.
    fn is_explained(&self) -> bool {
        ["not met: ", "not yet: "].iter().any(|word| self.reason(word).is_some())
    }

    fn reason(&self, word: &str) -> Option<&str> {
        self.verdict.strip_prefix(word).filter(|reason| !reason.is_empty())
    }

    /// What stands between backticks in the last column.
    fn tests(&self) -> Vec<&str> {
        self.shown_by.split('`').skip(1).step_by(2).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.document, self.section, self.name)
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rows(document: &'static str) -> Vec<Row> {
    let text = fs::read_to_string(workspace().join(document)).expect(document);
    let mut rows = Vec::new();
    let mut section = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.split(" (").next().unwrap_or_default();
        }
        let Some(cells) = line.strip_prefix('|') else { continue };
        let cells: Vec<&str> = cells.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
        let [name, asks, verdict, shown_by] = cells[..] else { panic!("{document}: not four columns: {line}") };
        if verdict == "portlane" || name.starts_with("---") {
            continue;
        }
        assert!(!asks.is_empty(), "{document}: {section}: {name} asks for nothing");
        let [section, name, verdict, shown_by] = [section, name, verdict, shown_by].map(str::to_owned);
        rows.push(Row { document, section, name, verdict, shown_by });
    }
    rows
}

fn all_rows() -> Vec<Row> {
    [NAT, DOCKER].into_iter().flat_map(rows).collect()
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
    let rows = rows(NAT);
    for (rfc, clauses) in CLAUSES {
        let written: Vec<&str> = rows.iter().filter(|row| row.section == rfc).map(|row| row.name.as_str()).collect();
        assert_eq!(written, clauses.split(", ").collect::<Vec<_>>(), "{rfc}");
    }
    let known = |row: &&Row| CLAUSES.iter().any(|(rfc, _)| *rfc == row.section);
    assert_eq!(rows.iter().filter(known).count(), rows.len(), "rows of another RFC");
}

#[test]
fn what_is_not_so_has_a_reason_and_no_test() {
    let mut faults = Vec::new();
    for row in all_rows() {
        if !row.is_shown() && !row.is_explained() {
            let words = "write `met`, `met (option)`, `differs: how`, `not met: why` or `not yet: what for`";
            faults.push(format!("{row} is `{}`: {words}", row.verdict));
        }
        if row.is_explained() && !row.shown_by.is_empty() {
            faults.push(format!("{row} is `{}`, and yet shown by {}", row.verdict, row.shown_by));
        }
    }
    assert_none(&faults);
}

#[test]
fn what_is_so_is_shown_by_tests_that_exist() {
    let tests = tests();
    let mut faults = Vec::new();
    for row in all_rows().iter().filter(|row| row.is_shown()) {
        let named = row.tests();
        if named.is_empty() {
            faults.push(format!("{row} is shown by no test: {}", row.shown_by));
        }
        let missing = named.iter().filter(|name| !tests.contains(**name));
        faults.extend(missing.map(|name| format!("{row} is shown by `{name}`, which is no test")));
    }
    assert_none(&faults);
}

#[test]
fn nothing_is_left_to_be_shown() {
    let left = all_rows().into_iter().filter(|row| row.shown_by.contains("TODO"));
    assert_none(&left.map(|row| format!("{row}: {}", row.shown_by)).collect::<Vec<_>>());
}

#[test]
fn no_behaviour_is_named_twice() {
    let mut seen = BTreeSet::new();
    let twice = all_rows().into_iter().map(|row| row.to_string()).filter(|row| !seen.insert(row.clone()));
    assert_none(&twice.collect::<Vec<_>>());
}
