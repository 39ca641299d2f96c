//! `completions`, and the man pages that are shipped: both made from the same tree as `--help`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, print};

/// What the foot of a page says.
const VERSION: &str = concat!("portlane ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane completions bash > /etc/bash_completion.d/portlane
  portlane completions fish > ~/.config/fish/completions/portlane.fish
  portlane completions zsh > /usr/local/share/zsh/site-functions/_portlane")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "portlane", &mut script);
        print::text(&String::from_utf8_lossy(&script))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane man-pages /usr/local/share/man/man1")]
pub(super) struct ManPages {
    /// Where to
    folder: PathBuf,
}

impl ManPages {
    pub(super) fn run(self) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let mut root = Cli::command();
        root.build();
        write(&self.folder, &root)
    }
}

fn write(folder: &Path, command: &clap::Command) -> Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = folder.join(format!("{name}.1"));
    let page = page(command, name).context("cannot make a man page")?;
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).try_for_each(|verb| write(folder, verb))
}

fn page(command: &clap::Command, name: &str) -> io::Result<Vec<u8>> {
    // Examples come as they are, below: as a paragraph nobody could read them.
    let man = Man::new(command.clone().after_help("")).title(name).source(VERSION).manual("portlane");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(help) = command.get_after_help() {
        page.extend(format!(".SH EXAMPLES AND NOTES\n.nf\n{}.fi\n", literal(&help.to_string())).bytes());
    }
    if name != "portlane" {
        page.extend(b".SH SEE ALSO\n.BR portlane (1)\n");
    }
    Ok(page)
}

/// Text that roff prints as it is.
fn literal(text: &str) -> String {
    let line = |line: &str| format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq"));
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_man_page_with_its_examples_line_by_line() {
        let mut root = Cli::command();
        root.build();
        let network = root.find_subcommand("network").unwrap();
        for (command, line) in [
            (&root, "\\&  portlane port web                      where its ports are published"),
            (root.find_subcommand("run").unwrap(), "\\&  portlane run \\-d \\-\\-name web"),
            (network.find_subcommand("create").unwrap(), "\\&  portlane network create \\-\\-ipv6"),
        ] {
            let name = command.get_display_name().unwrap_or("portlane").to_owned();
            let page = String::from_utf8(page(command, &name).unwrap()).unwrap();
            assert!(page.contains(line), "no `{line}` in {page}");
            assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        }
    }

    #[test]
    fn roff_does_not_read_examples_as_requests() {
        assert_eq!(literal(".x 'a\\b'"), "\\&.x \\(aqa\\eb\\(aq\n");
    }
}
