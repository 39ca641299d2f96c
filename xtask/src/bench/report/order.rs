//! The order in which figures are shown.

use crate::bench::{
    paths::Path,
    peers::{BARE, PORTLANE},
    record::{Figure, Run},
};

/// By section and path, the limit first and portlane last; else as they are in the run.
pub fn ordered(run: &Run) -> Vec<&Figure> {
    let mut figures: Vec<&Figure> = run.figures.iter().collect();
    figures.sort_by_key(|figure| (figure.what.section, path(&figure.what.case), rank(&figure.what.subject)));
    figures
}

/// What is no path comes behind them.
fn path(case: &str) -> usize {
    Path::ALL.iter().position(|path| path.label() == case).unwrap_or(Path::ALL.len())
}

fn rank(subject: &str) -> u8 {
    match subject {
        BARE => 0,
        PORTLANE => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::sample::run;

    #[test]
    fn the_limit_comes_first_and_portlane_last_whatever_their_names() {
        let sorted = run();
        let mut shuffled = run();
        shuffled.figures.sort_by(|one, other| one.what.subject.cmp(&other.what.subject));
        assert_ne!(shuffled.figures, sorted.figures);
        let subjects =
            |run: &Run| ordered(run).into_iter().map(|figure| figure.what.subject.clone()).collect::<Vec<_>>();
        assert_eq!(subjects(&shuffled), subjects(&sorted));
    }
}
