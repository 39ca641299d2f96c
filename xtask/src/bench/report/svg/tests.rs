//! What the pictures show, by their texts.

use super::*;
use crate::bench::{
    paths,
    peers::DOCKER,
    report::sample::{figure, run},
};

fn drawn_text(picture: fn(&Run) -> Result<Option<String>>, run: &Run) -> String {
    picture(run).expect("a picture").expect("figures for it")
}

#[test]
fn a_picture_names_each_peer_and_what_was_alike() {
    for (name, picture) in PICTURES {
        let text = drawn_text(picture, &run());
        assert!(text.starts_with("<svg "), "{name}: {text}");
        for word in [BARE, DOCKER, PORTLANE, "IPv4", "6.18.0"] {
            assert!(text.contains(word), "{name} has no `{word}`:\n{text}");
        }
    }
}

#[test]
fn bars_have_the_speed_beside_them_so_that_longer_is_faster() {
    let text = drawn_text(bars::by_path, &run());
    // 15,000 ns of the bare pair to 16,050, and 13,160 connections to its 14,000.
    for word in ["inbound published", "0.93", "0.94"] {
        assert!(text.contains(word), "no `{word}`:\n{text}");
    }
    assert!(!text.contains("1.07"), "a latency's ratio was not turned round:\n{text}");
}

#[test]
fn peers_keep_their_colour_and_portlane_has_one_of_its_own() {
    let mut run = run();
    let published = paths::Path::Published.label();
    run.figures.push(figure("netavark", published, "RR p50", Some(1), 20_000.0));
    let colours = [PORTLANE, BARE, DOCKER, "netavark"].map(|subject| colour(&run, subject));
    assert_eq!(once(colours).len(), 4);
}

#[test]
fn without_figures_nothing_is_drawn() {
    let none = Run { figures: Vec::new(), ..run() };
    for (name, picture) in PICTURES {
        assert!(picture(&none).expect(name).is_none(), "{name}");
    }
    let mut one_port_count = run();
    one_port_count.figures.retain(|figure| ports(figure) != Some(1_000.0));
    assert!(lines::by_ports(&one_port_count).expect("no error").is_none(), "a line through one point");
}
