//! The examples of the gallery run, and draw their pictures.

#[allow(dead_code, reason = "its main is not called here")]
#[path = "../../examples/equals_backprop.rs"]
mod equals_backprop;
#[allow(dead_code, reason = "its main is not called here")]
#[path = "../../examples/one_update.rs"]
mod one_update;
#[allow(dead_code, reason = "its main is not called here")]
#[path = "../../examples/own_data.rs"]
mod own_data;
#[allow(dead_code, reason = "its main is not called here")]
#[path = "../../examples/own_rule.rs"]
mod own_rule;

use std::collections::BTreeSet;
use std::path::Path;
use zilch::device::Device;

fn cpu() -> Device {
    Device::open("cpu", None).expect("a CPU")
}

/// The text of a picture: a complete SVG with finite numbers.
fn picture(path: &Path) -> String {
    let svg = std::fs::read_to_string(path).expect("the picture");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    svg
}

/// The values of an attribute that all start with `begin`.
fn values<'a>(svg: &'a str, begin: &str) -> BTreeSet<&'a str> {
    svg.split(begin).skip(1).filter_map(|rest| rest.split('\'').next()).collect()
}

#[test]
fn the_error_of_an_update_climbs_in_its_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let svg = picture(&one_update::run(&cpu(), folder.path()).expect("it runs"));
    // Four layers at four times. ε^l is 0 until t = l: those cells are white.
    let cells: Vec<&str> = svg.split("fill='rgb").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
    assert_eq!(cells.len(), 4 * 4);
    for (i, cell) in cells.iter().enumerate() {
        let (l, t) = (i / 4, i % 4);
        assert_eq!(*cell == "(255,255,255)", t < l, "ε^{l} at t = {t}: {cell}");
    }
}

#[test]
fn the_distance_of_zil_from_bp_is_none_in_its_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let svg = picture(&equals_backprop::run(&cpu(), folder.path()).expect("it runs"));
    let heights = |curve: &str| -> BTreeSet<String> {
        curve.split(' ').filter_map(|point| point.split(',').nth(1)).map(str::to_owned).collect()
    };
    let curves: Vec<BTreeSet<String>> =
        svg.split("points='").skip(1).filter_map(|rest| rest.split('\'').next()).map(heights).collect();
    assert_eq!(curves.len(), 3);
    // Z-IL and Fa-Z-IL lie on the axis.
    assert_eq!(curves[0], BTreeSet::from(["240.0".to_owned()]));
    assert_eq!(curves[1], curves[0]);
    assert!(curves[2].len() > 1, "{:?}", curves[2]);
}

#[test]
fn a_custom_rule_is_drawn_beside_bp() {
    let folder = tempfile::tempdir().expect("a folder");
    let svg = picture(&own_rule::run(&cpu(), folder.path()).expect("it runs"));
    assert_eq!(values(&svg, "points='").len(), 2, "two different curves");
    assert!(svg.contains(">clipped BP<") && svg.contains(">BP<"));
}

#[test]
fn own_data_are_learned_and_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, error) = own_data::run(&cpu(), folder.path()).expect("it runs");
    assert!(error < 0.1, "test error {error}");
    assert!(values(&picture(&path), "fill='rgb").len() > 20, "the regions of two classes");
}
