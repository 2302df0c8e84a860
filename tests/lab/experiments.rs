//! Experiments themselves: a plan that breaks a property turns its cell of Table 2, and interference is what its equations say.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::Data;
use zilch::plan::{Op, Plan, Stage};
use zilch::rules::Phi;
use zilch::rules::builder::Chain;
use zilch::{Options, Rule, Schedule};
use zilch_lab::Context;
use zilch_lab::experiments::prospective::interference;
use zilch_lab::experiments::table2;

fn tables_of_plans() -> (Arc<Data>, AtomicBool) {
    (Arc::new(Data::open("digits").expect("digits")), AtomicBool::new(false))
}

/// Plans that break each property turn the cell of Table 2.
#[test]
fn a_plan_that_breaks_a_property_turns_its_cell() {
    let (data, stop) = tables_of_plans();
    let context = Context { data, quick: true, seeds: 1, threads: 1, stop: &stop, watch: &|_, _| () };
    let network = &context.networks().expect("networks")[1];
    let plan = |options: Options| options.plan(network).expect("plan");
    let full = |rule| Options { schedule: Some(Schedule::Full), ..Options::new(rule) };
    let bp = table2::trained(&context, network, &plan(full(Rule::BP))).expect("bp");
    let verdicts = |plan: &Plan| {
        table2::judge(&context, (Rule::FAZIL, network), plan, &bp).expect("row").verdicts().map(|v| v.holds)
    };

    let fazil = plan(full(Rule::FAZIL));
    assert_eq!(verdicts(&fazil), [true; 4]);
    assert_eq!(verdicts(&plan(Options { phi: Phi::Feedback, ..full(Rule::FAZIL) })), [true; 4]);
    assert_eq!(verdicts(&plan(Options { gamma: Some(0.9), ..full(Rule::FAZIL) })), [false, true, true, true]);

    let moment = |plan: &Plan, t| plan.moments.iter().position(|m| m.stage == Stage::Learning(t)).expect("a moment");
    let mut clocked = fazil.clone();
    let at = moment(&clocked, 3);
    let theta = clocked.theta(3);
    let learns = |op: &Op| op.changes_weights() && op.writes().next() == theta;
    clocked.moments[at].steps.iter_mut().for_each(|ops| ops.retain(|op| !learns(op)));
    assert_eq!(verdicts(&clocked)[1..], [true, true, false], "one layer does not learn at t = 3");

    // δ^1 in the slot of ε^1: an op that prediction does not run.
    let mut switched = fazil.clone();
    let at = moment(&switched, 0);
    let mut bp = Chain::new(network, &full(Rule::FAZIL));
    switched.moments[at].steps.push(vec![bp.backprop(1)]);
    assert_eq!(verdicts(&switched)[2..], [false, false], "an op that prediction does not run");

    assert_eq!(verdicts(&plan(full(Rule::ZIL))), [true, true, true, false]);
    assert_eq!(verdicts(&plan(full(Rule::BP))), [true, false, false, false]);
}

/// The numbers that were computed from the equations by hand: how far the output falls that should stay.
#[test]
fn interference_is_what_the_equations_say() {
    let found = interference().expect("a chain");
    let of = |name: &str, lr: f64| found.iter().find(|i| i.rule == name && i.lr == lr).expect("there").lowest;
    for (name, lr, want) in [("bp", 0.1, 0.78714), ("pc", 0.1, 0.93810), ("bp", 0.005, 0.80549), ("pc", 0.005, 0.94365)]
    {
        assert!((of(name, lr) - want).abs() < 5.1e-6, "{name} at {lr}: {}", of(name, lr));
    }
}
