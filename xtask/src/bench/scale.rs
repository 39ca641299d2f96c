//! What the loaded programs cost a packet, run by the kernel alone: starts `program-bench` and reads its figures.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{
    Plan,
    record::{Figure, Run},
};

/// The program, of the tests' package, that lies beside portlane.
pub const PROGRAM: &str = "program-bench";

/// Measures the programs.
///
/// # Errors
/// When a program does not do with a packet what it is to do.
pub fn measure(plan: &Plan, record: &mut Run) -> Result<()> {
    let quick = plan.quick.then_some("--quick");
    record.figures.extend(figures(&plan.portlane.with_file_name(PROGRAM), quick)?);
    if plan.quick {
        record.left_out.push("with --quick: programs with a million conversations in their tables".to_owned());
    }
    Ok(())
}

fn figures(program: &Path, arguments: Option<&str>) -> Result<Vec<Figure>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let output = child.stdout.take().context("no output to read")?;
    let figures: Result<Vec<Figure>> = BufReader::new(output).lines().map(|line| figure(&line?)).collect();
    let status = child.wait().with_context(|| format!("lost {PROGRAM}"))?;
    ensure!(status.success(), "{PROGRAM} failed: {status}");
    figures
}

fn figure(line: &str) -> Result<Figure> {
    serde_json::from_str(line).with_context(|| format!("{PROGRAM} printed `{line}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::Section;

    #[test]
    fn a_line_of_the_program_is_a_figure() {
        let line = r#"{"at":{"family":"IPv4"},"case":"not published","metric":"over an empty program",
            "samples":[452.0,450.0,470.0],"section":"scale","subject":"portlane","unit":"nanoseconds"}"#;
        let figure = figure(line).expect("a figure");
        assert_eq!((figure.what.section, figure.what.at["family"].as_str()), (Section::Scale, "IPv4"));
        assert!((figure.median() - 452.0).abs() < f64::EPSILON);
        assert!(super::figure("it went wrong").is_err());
    }
}
