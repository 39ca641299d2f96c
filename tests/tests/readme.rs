//! The README's session, played again: what is shown there is what portlane prints, but for numbers and identifiers.
#![cfg(feature = "root")]

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use portlane_tests::topology::{Topology, test, until};

/// Where the session begins, and what begins whatever follows it.
const HEADING: &str = "## A session";
const NEXT_HEADING: &str = "\n## ";
/// Prompts: of the host, and of the client outside.
const HOST: &str = "# ";
const CLIENT: &str = "client# ";
/// Commands that only look are given again until they show what they shall: a server is not there at once, nor has a connection
/// ended when its client has.
const LOOKS: [&str; 6] =
    ["curl ", "portlane port ", "portlane ps", "portlane stats", "portlane flows", "portlane exec "];

/// A command, and what it is shown to print.
#[derive(Debug)]
struct Shown {
    prompt: &'static str,
    command: String,
    output: String,
}

/// The blocks of the section that begin with a prompt.
fn session(readme: &str) -> Result<Vec<Shown>> {
    let (_, section) = readme.split_once(HEADING).context("the README has no session")?;
    let section = section.split(NEXT_HEADING).next().unwrap_or(section);
    let mut session: Vec<Shown> = Vec::new();
    // Every other piece is between two fences.
    let blocks = section.split("```\n").skip(1).step_by(2);
    for line in blocks.filter(|block| block.starts_with(HOST)).flat_map(str::lines) {
        let prompt = [CLIENT, HOST].into_iter().find_map(|prompt| Some((prompt, line.strip_prefix(prompt)?)));
        match (prompt, session.last_mut()) {
            (Some((prompt, command)), _) => {
                session.push(Shown { prompt, command: command.to_owned(), output: String::new() });
            }
            (None, Some(shown)) => shown.output.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    Ok(session)
}

/// Without what is another one each time: words with digits in them, prefixes of units, and how many blanks there are.
fn shape(text: &str) -> Vec<String> {
    let word = |word: &str| match word {
        word if word.contains(|letter: char| letter.is_ascii_digit()) => "#".to_owned(),
        "kB" | "MB" => "B".to_owned(),
        word => word.to_owned(),
    };
    text.lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")).collect()
}

fn printed(net: &Topology, shown: &Shown) -> Result<String> {
    let quoted: Vec<String> = net.portlane_words(&[]).iter().map(|word| format!("'{word}'")).collect();
    let folder = net.file("www").with_file_name("");
    // What is refused is shown too, and its exit status is another test's.
    let script = format!(
        "cd '{}' && portlane() {{ {} \"$@\"; }}\n{{ {}; }} 2>&1 || true",
        folder.display(),
        quoted.join(" "),
        shown.command
    );
    let place = if shown.prompt == CLIENT { net.outside() } else { net.host() };
    place.run(&["sh", "-c", &script])
}

#[test]
fn the_readmes_session_is_what_portlane_prints() -> Result<()> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    let session = session(&readme)?;
    ensure!(session.len() > 20, "the session has only {} commands", session.len());
    test(|net| {
        fs::create_dir(net.file("www"))?;
        fs::write(net.file("www").join("index.html"), "hello from a container\n")?;
        for shown in &session {
            let wanted = shape(&shown.output);
            let looks = LOOKS.iter().any(|look| shown.command.starts_with(look));
            let mut said = String::new();
            // What it prints in the end tells more than that it took too long.
            let _ = until(|| {
                said = printed(net, shown)?;
                Ok(!looks || shape(&said) == wanted)
            });
            let Shown { prompt, command, output } = shown;
            ensure!(shape(&said) == wanted, "{prompt}{command}\n{said}\nand in the README\n{output}");
        }
        Ok(())
    })
}
