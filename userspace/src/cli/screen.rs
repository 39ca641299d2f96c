//! Something that is shown again and again: in place on a terminal, one after the other in a pipe.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use anyhow::{Context, Result};
use terminal_size::{Height, Width, terminal_size};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::print;

/// The other screen, which keeps what was typed before; no cursor; long lines are cut.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// All of that undone.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the top.
const HOME: &str = "\x1b[H";
/// What is left of the line, and of the screen, from there.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

/// Where it is shown. Dropped, it leaves a terminal as it was.
#[derive(Debug)]
pub(super) struct Screen {
    in_place: bool,
    /// Whether something was shown in a pipe already.
    begun: bool,
    tables: bool,
    last: String,
    ends: [Signal; 3],
}

impl Screen {
    /// Takes the terminal, if stdout is one and these are `tables`; from here on signals end only [`Self::wait`].
    pub(super) fn open(tables: bool) -> Result<Self> {
        let on = |kind| signal(kind).context("cannot wait for signals");
        let ends = [on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?];
        let in_place = tables && io::stdout().is_terminal();
        if in_place {
            print::text(ENTER)?;
        }
        Ok(Self { in_place, begun: false, tables, last: String::new(), ends })
    }

    /// Shows it; false if nobody reads it any more.
    pub(super) fn show(&mut self, text: &str) -> Result<bool> {
        if self.in_place {
            let (Width(_), Height(rows)) = terminal_size().unwrap_or((Width(80), Height(24)));
            self.last = text.to_owned();
            return print::heard(&frame(text, usize::from(rows)));
        }
        let gap = if self.begun && self.tables { "\n" } else { "" };
        self.begun = true;
        print::heard(&format!("{gap}{text}"))
    }

    /// Waits; false if it is to end.
    pub(super) async fn wait(&mut self, interval: Duration) -> Result<bool> {
        let [interrupt, terminate, hangup] = &mut self.ends;
        Ok(tokio::select! {
            () = sleep(interval) => true,
            _ = interrupt.recv() => false,
            _ = terminate.recv() => false,
            _ = hangup.recv() => false,
        })
    }

    /// Gives the terminal back, with what was shown last.
    pub(super) fn close(mut self) -> Result<()> {
        let last = std::mem::take(&mut self.last);
        drop(self);
        print::text(&last)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.in_place {
            // A terminal that is gone needs nothing.
            let _ = print::text(LEAVE);
        }
    }
}

/// The text over what was there, as many lines of it as there are rows.
fn frame(text: &str, rows: usize) -> String {
    let lines: Vec<String> = text.lines().take(rows).map(|line| format!("{line}{CLEAR_LINE}")).collect();
    // No line end after the last row: the screen would scroll.
    format!("{HOME}{}{CLEAR_REST}", lines.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_longer_than_the_screen_is_cut() {
        assert_eq!(frame("a\nb\nc\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(frame("a\n", 2), "\x1b[Ha\x1b[K\x1b[J");
    }
}
