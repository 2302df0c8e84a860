//! The tables of other names: each one names a value that exists, and no word means two values.

use std::collections::BTreeMap;
use zilch::device::gpu::Precision;
use zilch::lower::passes::Pass;
use zilch::named::Named;
use zilch::network::Init;
use zilch::rules::{Coords, Loss, Optimizer, Phi, Ramp, RuleFile, Schedule};
use zilch::train::probe::Probe;
use zilch::words::{OPTIONS, VALUES, advice, of_value, option, plain};
use zilch::{Activation, Rule};

/// Checks the words of one kind of value. Returns the kind.
fn check<T: Named + PartialEq + std::fmt::Debug>() -> &'static str {
    let mut meant: BTreeMap<String, &str> = BTreeMap::new();
    for value in T::all() {
        for spelling in value.spellings() {
            let before = meant.insert(plain(spelling), value.name());
            assert!(
                before.is_none_or(|before| before == value.name()),
                "{spelling} means {before:?} and {}",
                value.name()
            );
            for typed in
                [spelling.to_owned(), spelling.to_uppercase(), spelling.replace('-', "_"), spelling.replace(' ', "-")]
            {
                assert_eq!(T::read(&typed), Some(*value), "{typed}");
            }
        }
    }
    let known = VALUES.iter().find(|(kind, _)| *kind == T::kind()).map_or(&[][..], |(_, values)| values);
    for (name, _) in known {
        assert!(T::from_name(name).is_some(), "{} has no value {name}", T::kind());
    }
    assert_eq!((T::read(""), T::read("nothing of this kind")), (None, None));
    T::kind()
}

#[test]
fn every_word_means_one_value() {
    let kinds = [
        check::<Rule>(),
        check::<Activation>(),
        check::<Loss>(),
        check::<Optimizer>(),
        check::<Init>(),
        check::<Ramp>(),
        check::<Precision>(),
        check::<Coords>(),
        check::<Phi>(),
        check::<Schedule>(),
        check::<Probe>(),
        check::<Pass>(),
    ];
    for (kind, values) in VALUES {
        assert!(kinds.contains(kind) && !values.is_empty(), "{kind} is no kind of value");
    }
}

#[test]
fn rules_have_the_names_that_people_give_them() {
    for (word, rule) in [
        ("backprop", "bp"),
        ("BackProp", "bp"),
        ("Backpropagation", "bp"),
        ("PC", "il"),
        ("predictive_coding", "il"),
        ("ZIL", "zil"),
        ("Z-IL", "zil"),
        ("Fa-Z-IL", "fazil"),
        ("Feedback Alignment", "fa"),
        ("Kolen-Pollack", "kp"),
        ("μPC", "mupc"),
    ] {
        assert_eq!(Rule::read(word).map(|rule| rule.name()), Some(rule), "{word}");
    }
    assert_eq!(of_value("Rule", "il").first(), Some(&"pc"));
    for (word, rule) in [("backprob", "bp"), ("predictive-codin", "il"), ("zill", "zil"), ("hebian", "hebb")] {
        assert_eq!((Rule::read(word), <Rule as Named>::nearest(word)), (None, Some(rule)), "{word}");
    }
    assert_eq!(<Rule as Named>::nearest("xyzzy"), None);
}

#[test]
fn no_word_means_two_options_of_a_command() {
    // `rule` and `device` of some commands are `rules` and `devices` of others; no command has both.
    let names =
        |without: [&'static str; 2]| OPTIONS.iter().map(|(name, _)| *name).filter(move |name| !without.contains(name));
    for without in [["rules", "devices"], ["rule", "device"]] {
        let mut meant: BTreeMap<String, &str> = BTreeMap::new();
        for name in names(without) {
            let others = OPTIONS.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, others)| others);
            for spelling in [&[name][..], others].concat() {
                assert_eq!(meant.insert(plain(spelling), name), None, "{spelling} means two options");
                assert_eq!(option(spelling, names(without)), Some(name));
            }
        }
    }
    let known = || ["lr", "layers", "rule", "target-rate"].into_iter();
    assert_eq!((option("Learning_Rate", known()), option("batch", known())), (Some("lr"), None));
    assert_eq!(advice("learning-rat", known(), "--").as_deref(), Some("did you mean --lr?"));
    assert!(advice("hidden", known(), "").is_some_and(|advice| advice.contains("--layers")));
    assert_eq!(advice("xyzzy", known(), ""), None);
}

/// A rule file takes the same words as the command line.
#[test]
fn rule_files_take_other_names() {
    let parse = |text: &str| RuleFile::parse("rule.json".as_ref(), text.as_bytes());
    let file = parse(r#"{"rule": "Feedback-Alignment", "own": {"Feedback_Scale": "0.5"}}"#).expect("a rule file");
    assert_eq!(file.rule.name(), "fa");
    assert_eq!(file.numbers().expect("numbers").get("feedback-scale"), Some(&0.5));
    let message = parse(r#"{"rule": "fa", "own": {"feedback": "1"}}"#).expect_err("no such option").to_string();
    assert!(message.contains("fa has no option feedback; it has feedback-scale"), "{message}");
}
