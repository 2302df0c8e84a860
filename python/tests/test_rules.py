"""Rules written in Python."""

import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from plain import Network
from zilch_pc import errors, rules
from zilch_pc.rules import s, select

LAYERS = [784, 32, 32, 10]


@rules.rule("my-fa")
def my_fa(p):
    """Feedback alignment: errors travel back over fixed random weights."""
    p.predict_all()
    p.backward_pass(lambda l: p.op("back", p.backward(l, p.feedback(l)), [(p.eps(l), p.slope(l) * s)]))


@rules.rule("my-bp")
def my_bp(p):
    """The same over the weights themselves, moment by moment."""
    p.predict_all()
    p.learning(0, p.errors([0]))
    for l in range(1, p.lmax):
        p.learning(l, [[p.op("back", p.backward(l), [(p.eps(l), p.slope(l) * s)])]])
    learn = [p.op("learn", p.change(p.theta(l + 1), p.eps(l), p.h(l + 1)), p.descend(p.theta(l + 1))) for l in range(p.lmax)]
    p.learning(p.lmax, [learn])


@rules.rule("my-il", takes=["gamma", "steps"], gamma=0.1)
def my_il(p):
    """Inference learning, all layers at every moment."""
    p.predict_all()
    inner = range(1, p.lmax)
    for t in range(p.inference_steps):
        p.learning(t, [*p.errors(list(range(p.lmax))), [p.infer(l) for l in inner], [p.predict(l) for l in range(p.lmax)]])
    p.learning(p.inference_steps, [*p.errors(list(range(p.lmax))), [p.learn(l) for l in range(p.lmax)]])


@rules.rule("clipped", options={"most": (0.1, 0.0, 10.0)})
def clipped(p):
    p.predict_all()
    most = p.option("most")
    p.backward_pass(lambda l: p.op("clip", p.backward(l), [(p.eps(l), (p.slope(l) * s).max(-most).min(most))]))


def test_feedback_alignment_in_python_is_that_of_rust(digits, devices, bits):
    x, y, *_ = digits
    for device in devices:
        for options in ({}, {"optimizer": "adam", "lr": 1e-3}, {"loss": "cross-entropy", "bias": True}):
            mine = Network(LAYERS, my_fa, device=device, **options).fit(x, y)
            assert bits(mine, Network(LAYERS, "fa", device=device, **options).fit(x, y)), (device, options)
        assert bits(Network(LAYERS, my_bp, device=device).fit(x, y), Network(LAYERS, "zil", device=device).fit(x, y))
        assert not bits(Network(LAYERS, my_fa, device=device).fit(x, y), Network(LAYERS, my_bp, device=device).fit(x, y))


@pytest.mark.parametrize("layers", ["28x28,4c5,m2,16,10", "784,24=a,24,24+a,10", "28x28=in,6c5s2=a,6c3p1,6c3p1+a,a2,10"])
def test_a_custom_rule_trains_convolutions_and_graphs(layers, digits, devices, bits):
    x, y, *_ = digits
    train = lambda rule, device: Network(layers, rule, device=device, lr=1e-3).fit(x[:200], y[:200])  # noqa: E731
    for device in devices:
        assert bits(train(my_bp, device), train("bp", device)), device
        assert bits(train(my_fa, device), train("fa", device)), device
        assert not bits(train(my_fa, device), train(my_bp, device)), device


def test_options_of_ones_own(digits, bits):
    x, y, *_ = digits
    train = lambda **options: Network(LAYERS, clipped, device="cpu", **options).fit(x, y)  # noqa: E731
    assert not bits(train(), train(most=0.01)) and bits(train(), train(most=0.1))
    assert bits(train(most=10), Network(LAYERS, "bp", device="cpu").fit(x, y))
    with pytest.raises(errors.UsageError, match="most"):
        train(most=11)
    with pytest.raises(errors.UsageError, match="no option"):
        train(least=1)
    quick, slow = (Network([784, 16, 10], my_il, device="cpu", steps=n, gamma=0.2).fit(x[:40], y[:40]) for n in (2, 6))
    assert not bits(quick, slow)


def test_locality_is_the_row_of_zilch_rules():
    mine, known = my_fa.locality(), rules.locality("fa")
    assert {k: v.holds for k, v in mine.items()} == {k: v.holds for k, v in known.items()}
    assert repr(mine).splitlines()[1].split()[1:] == repr(known).splitlines()[1].split()[1:]
    assert not mine["weight_transport"].holds and mine["derivative"].holds
    assert my_bp.locality()["weight_transport"].holds
    assert my_il.locality()["local_plasticity"].holds
    assert re.split("  +", repr(known).splitlines()[0])[:4] == ["rule", "local", "no transport", "no f′"]
    # A mark stands for what is easier for a brain: fa needs no weight transport, but f′.
    assert repr(known).splitlines()[1].split()[1:4] == ["·", "✓", "·"]
    assert "<th>no weight transport</th>" in mine._repr_html_() and mine["signed_errors"].why


def test_expressions():
    a = rules.constant(2.0)
    assert str(a * 3 + 1) == "(2 · 3) + 1" or "·" in str(a * 3 + 1)
    assert str(1 - s) == "1 − s" and str(2 / s) == "2 ÷ s" and str(-s) == "−s"
    assert str(rules.fma(s, 2, 1)) == "fma(s, 2, 1)"
    assert str(select(s < 0, 0, s)) == "select(s < 0, 0, s)"
    assert str(s > 0) == "0 < s" and str(s == 1) == "s = 1"
    assert str(s.max(0).sqrt()) == "√(max(s, 0))" and str(abs(s)) == "|s|"
    assert str(s.f("tanh")) == "f(s)"
    for wrong in (lambda: s + "a", lambda: s + None, lambda: bool(s < 0), lambda: hash(s), lambda: select(s, [], 0)):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(errors.UsageError, match="activation"):
        s.f("nothing")
    grown = s
    with pytest.raises(errors.UsageError, match="nodes"):
        for _ in range(100_000):
            grown = grown + 1


def refused(build, words):
    with pytest.raises(Exception, match=words) as raised:
        Network([12, 9, 7, 4], rules.Rule("bad", build), device="cpu")
    return raised.value


def test_what_a_plan_cannot_be():
    keep = []

    def kept(p):
        keep.append((p, p.eps(1), p.op("o", p.each(p.eps(1)), [(p.eps(1), 0)]), p.backward(1)))
        p.predict_all()

    Network([12, 9, 7, 4], rules.Rule("keeps", kept), device="cpu")
    old, slot, op, what = keep[0]
    refused(lambda p: None, "never writes its output")
    refused(lambda p: p.eps(4), "there is no layer 4")
    refused(lambda p: p.eps(-1), "negative|unsigned")
    refused(lambda p: p.theta(0), "there is no layer 0")
    refused(lambda p: p.settle(0), "there is no layer 0")
    refused(lambda p: p.infer(3), "there is no layer 3")
    refused(lambda p: p.backward(1, p.eps(1)), "weights are needed")
    refused(lambda p: p.op("o", p.each(p.eps(1)), [(p.eps(1) + 1, 0)]), "a slot is needed")
    refused(lambda p: p.op("o", p.each(p.eps(1)), [p.eps(1)]), "list of")
    refused(lambda p: p.op("o", p.each(p.eps(1)), 7), "iterable")
    refused(lambda p: p.learning(0, [p.learn(0)]), "lists of ops")
    refused(lambda p: p.learning(0, [[7]]), "lists of ops")
    refused(lambda p: p.reduce(p.eps(1), "mean"), "no reduction")
    refused(lambda p: p.draw("poisson"), "no draw")
    refused(lambda p: p.option("size"), "no option")
    refused(lambda p: p.op("o", p.each(p.eps(1)), [(slot, 0)]), "another plan")
    refused(lambda p: p.op("o", p.each(p.eps(1)), [(p.eps(1), slot)]), "another plan")
    refused(lambda p: p.op("o", what, [(p.eps(1), 0)]), "another plan")
    refused(lambda p: p.learning(0, [[op]]), "another plan")
    refused(lambda p: old.eps(1), "finished already")
    refused(lambda p: (p.units("Eps", 1), p.predict_all()), "lower-case ASCII")
    refused(lambda p: (p.predict_all(), p.predicting([[p.predict(0)]], times=0)), "at least once")
    refused(lambda p: p.learning(0, [[p.op("o", p.each(p.eps(1)), [(p.eps(1), p.eps(0))])]]), "in a domain that cannot read it")
    error = refused(lambda p: 1 / 0, "division")
    assert isinstance(error, ZeroDivisionError)
    for wrong in (lambda: rules.Rule("bp", my_fa.function), lambda: rules.Rule("a b", my_fa.function), lambda: rules.Rule("", len),
                  lambda: rules.Rule("x", 7), lambda: rules.Rule("x", len, takes=["schedule"]),
                  lambda: rules.Rule("x", len, options={"a": (2.0, 0.0, 1.0)})):
        with pytest.raises(errors.UsageError):
            wrong()


def test_a_rule_is_pickled_by_name(batch, bits):
    x, y = batch
    network = Network([12, 9, 4], my_fa, device="cpu").fit(x, y)
    thawed = pickle.loads(pickle.dumps(network))
    assert bits(network, thawed) and bits(network.fit(x, y), thawed.fit(x, y))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(Network([12, 9, 4], rules.Rule("local-rule", lambda p: p.predict_all()), device="cpu"))


def test_slots_reductions_and_draws_of_ones_own(batch):
    x, y = batch

    @rules.rule("noisy")
    def noisy(p):
        p.predict_all()
        noise, total, calm = p.units("noise", 1), p.sample("total", 1), p.vector("calm", 1)
        p.learning(0, [*p.errors([0]), [p.op("draw", p.draw("bell"), [(noise, s)])], [p.op("sum", p.reduce(noise, "sum"), [(total, s)])]])
        moved = select(noise > 0, p.slope(1) * s, 0) + 0 * total + calm
        p.learning(1, [[p.op("back", p.backward(1), [(p.eps(1), moved)])]])
        p.learning(2, [[p.learn(0), p.learn(1)]])

    step = Network([12, 9, 4], noisy, device="cpu").step(x, y)
    share = (step.eps[1] == 0).mean()
    assert 0.2 < share < 0.8 and np.isfinite(step.eps[1]).all()


def test_a_rule_that_uses_a_network_is_refused_and_does_not_wait_for_itself():
    program = """
from zilch_pc import Network, errors, rules

networks, inner = [], None

@rules.rule("curious")
def curious(p):
    if networks:
        inner(networks[0])
    p.predict_all()
    p.learning(0, p.errors([0]))
    p.learning(1, [[p.learn(0)]])

x, y = [[0.0, 1.0]], [1]
asks = [lambda n: n.weights, lambda n: n.predict(x), lambda n: n.fit(x, y, batch=1), repr, lambda n: n.sha256,
        lambda n: Network([2, 3, 2], curious), lambda n: curious.locality(), lambda n: Network([2, 3, 2], "bp", device="cpu")]
for inner in asks:
    networks.clear()
    made = Network([2, 3, 2], curious, device="cpu")
    networks.append(made)
    for act in (lambda: made.step(x, y), lambda: made.fit(x, y, batch=1), made.plan, curious.locality):
        try:
            act()
        except errors.UsageError as error:
            assert "may use no network" in str(error), error
        else:
            raise SystemExit("it was not refused")
    networks.clear()
    made.step(x, y)
    assert made.updates == 1
print("refused")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "refused\n", done.stderr
