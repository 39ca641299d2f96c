//! What a command is busy with: a line on stderr once it has taken a second, and only on a terminal.
//!
//! Whoever does something that can take long says so with [`step`]; nothing is printed unless the command line asked
//! for it with [`show`]. The line goes before anything else is printed, and with it the thread that draws it.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What is over sooner needs no line.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);
const ERASE: &str = "\r\x1b[K";

static BUSY: Mutex<Busy> = Mutex::new(Busy::new());

#[derive(Debug)]
struct Busy {
    /// The innermost last.
    steps: Vec<String>,
    /// When the first of them began.
    since: Option<Instant>,
    /// Whether the line is to be seen at all.
    shown: bool,
    /// Whether it is on the terminal.
    drawn: bool,
    /// Who draws it: hung up on, it ends.
    artist: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Busy {
    const fn new() -> Self {
        Self { steps: Vec::new(), since: None, shown: false, drawn: false, artist: None }
    }

    /// The line to draw at a moment, if it is time for one.
    fn line(&self, now: Instant) -> Option<String> {
        let taken = now.duration_since(self.since?);
        let step = self.steps.last().filter(|_| taken >= PATIENCE)?;
        Some(format!("{ERASE}portlane: {step} … {} s", taken.as_secs()))
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.drawn) {
            put(ERASE);
        }
    }
}

/// Something that takes a while. Dropped, it is over.
#[derive(Debug)]
pub struct Step(usize);

/// Begins something that may take a while: the words come after "portlane: ".
pub fn step(words: impl Into<String>) -> Step {
    let mut busy = busy();
    busy.steps.push(words.into());
    if busy.since.is_none() {
        busy.since = Some(Instant::now());
        let (hold, held) = channel();
        let artist = busy.shown.then(|| thread::Builder::new().name("progress".to_owned()).spawn(|| draw(held)));
        // Without a thread there is no line.
        busy.artist = artist.and_then(Result::ok).map(|thread| (hold, thread));
    }
    Step(busy.steps.len() - 1)
}

impl Step {
    /// Says how far it is.
    pub fn goes_on(&self, words: impl Into<String>) {
        if let Some(step) = busy().steps.get_mut(self.0) {
            *step = words.into();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut busy = busy();
        busy.steps.truncate(self.0);
        if busy.steps.is_empty() {
            busy.since = None;
            busy.erase();
            let artist = busy.artist.take();
            drop(busy);
            if let Some((hold, thread)) = artist {
                drop(hold);
                drop(thread.join());
            }
        }
    }
}

/// Has the line shown from here on, if stderr is a terminal.
pub fn show() {
    busy().shown = io::stderr().is_terminal();
}

/// Takes the line away, for another on stderr.
pub fn make_room() {
    busy().erase();
}

fn draw(held: Receiver<()>) {
    while held.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let mut busy = busy();
        if let Some(line) = busy.line(Instant::now()) {
            busy.drawn = true;
            put(&line);
        }
    }
}

fn busy() -> MutexGuard<'static, Busy> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody misses the line where it cannot be printed.
fn put(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_after_a_second_and_it_says_the_innermost_step() {
        let begun = Instant::now();
        let steps = vec!["a".to_owned(), "b".to_owned()];
        let busy = Busy { steps, since: Some(begun), ..Busy::new() };
        assert_eq!(busy.line(begun + Duration::from_millis(999)), None);
        assert_eq!(busy.line(begun + Duration::from_millis(3100)).as_deref(), Some("\r\x1b[Kportlane: b … 3 s"));
        assert_eq!(Busy { drawn: true, ..Busy::new() }.line(begun), None);
    }
}
