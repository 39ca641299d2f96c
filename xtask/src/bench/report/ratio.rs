//! Figures as ratios to what the same run measured without anything in between.

use crate::bench::{
    paths::Path,
    peers::{BARE, PORTLANE},
    record::{Figure, Run, Section, What},
};

/// The one of [`What::at`] that only those have who publish ports.
pub const PORTS: &str = "ports";

/// What a figure of traffic is measured against: the bare veth pair at the same, or for the host's own way to a published
/// port, the same subject's way to the container's address; with link settings, portlane as it is by default. `None` where there is nothing of the kind, or it is nothing.
pub fn base<'run>(run: &'run Run, figure: &Figure) -> Option<&'run Figure> {
    let what = &figure.what;
    let wanted = match what.section {
        Section::Control | Section::Scale => return None,
        Section::Beyond => What { subject: PORTLANE.to_owned(), ..what.clone() },
        Section::Traffic if what.case == Path::Loopback.label() => {
            What { case: Path::Direct.label().to_owned(), ..what.clone() }
        }
        Section::Traffic => {
            let mut at = what.at.clone();
            at.remove(PORTS);
            What { subject: BARE.to_owned(), at, ..what.clone() }
        }
    };
    run.figures.iter().find(|other| other.what == wanted && other.median() > 0.0)
}

/// To what it is measured against.
pub fn ratio(run: &Run, figure: &Figure) -> Option<f64> {
    base(run, figure).and_then(|base| over(figure, base))
}

/// A figure over another one: where they were taken in turns, the median of what each turn says, since the machine's pace
/// changes from one to the next for both; else the median over the other's.
pub fn over(figure: &Figure, base: &Figure) -> Option<f64> {
    if figure.samples.len() != base.samples.len() {
        return (base.median() > 0.0).then(|| figure.median() / base.median());
    }
    let turns = figure.samples.iter().zip(&base.samples);
    let samples: Vec<_> = turns.filter(|(_, base)| **base > 0.0).map(|(sample, base)| sample / base).collect();
    let ratios = Figure { samples, ..figure.clone() };
    (!ratios.samples.is_empty()).then(|| ratios.median())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::sample::{figure, run};

    #[test]
    fn a_path_is_measured_against_the_bare_pair_at_the_same() {
        let (run, portlane) = (run(), figure("portlane", Path::Published.label(), "RR p50", Some(1_000), 16_500.0));
        assert_eq!(ratio(&run, &portlane), Some(1.1));
        let mut other = portlane.clone();
        other.what.at.insert("family".to_owned(), "IPv6".to_owned());
        assert_eq!(ratio(&run, &other), None);
        assert_eq!(ratio(&run, &Figure { what: What { section: Section::Scale, ..portlane.what }, ..other }), None);
    }

    #[test]
    fn those_who_take_turns_are_compared_turn_by_turn() {
        let of = |samples: &[f64]| {
            let mut figure = figure("portlane", Path::Published.label(), "RR p50", Some(1), 0.0);
            figure.samples = samples.to_vec();
            figure
        };
        // A machine that is twice as slow for the second half.
        let (bare, portlane) = (of(&[10.0, 10.0, 20.0, 20.0, 20.0]), of(&[11.0, 11.0, 11.0, 22.0, 22.0]));
        assert_eq!(over(&portlane, &bare), Some(1.1));
        assert_eq!(over(&of(&[11.0]), &bare), Some(0.55), "taken apart, the medians are all there is");
        assert_eq!(over(&of(&[11.0]), &of(&[0.0])), None);
    }

    #[test]
    fn the_loopback_address_is_measured_against_the_containers_own() {
        let mut run = run();
        run.figures.push(figure("portlane", Path::Direct.label(), "RR p50", Some(1), 10_000.0));
        let loopback = figure("portlane", Path::Loopback.label(), "RR p50", Some(1), 10_200.0);
        assert_eq!(ratio(&run, &loopback), Some(1.02));
    }
}
