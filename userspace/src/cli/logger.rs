//! Log lines on stderr.

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

static STDERR: Stderr = Stderr;

/// Has messages up to `level` printed.
pub(super) fn install(level: LevelFilter) {
    // It fails only if there is a logger already, which will do.
    if log::set_logger(&STDERR).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Stderr {
    /// portlane's own, and what the programs report through aya-log; libraries speak of themselves only at `-vvv`.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("portlane") || log::max_level() == LevelFilter::Trace
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            crate::progress::make_room();
            eprintln!("portlane: {level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}
