#!/usr/bin/env python3
"""An independent float64 program of SuperSpike (Zenke & Ganguli, Neural Computation 2018). It needs numpy only:

    python3 scripts/oracle_superspike.py > tests/fixtures/superspike.json

It shares no code with the crate, and is written from the equations: one stream, a step of DT ms an update, times in
ms, potentials in mV. Layer 0 is the output, LMAX the input; theta^{l+1} [n^l, n^{l+1}] brings layer l+1 to layer l;
there are no biases. S are spikes, T those that the output should have; all that has a past starts at 0. What is kept
over steps:
    I, U, wait       current, membrane potential (at rest 0), steps that a unit must still sit out; l < LMAX
    a, p             the trace of a layer's spikes that the next layer holds, through two filters;   l > 0
    c, d             the errors, through the same two;                                               l < LMAX
    lam, bar, g      of a connection: what it did to the potential, through the same two; its sum with d over a window
    v                of a connection: the greatest squared mean of g, slowly forgotten
Before it writes anything it checks itself: `check` and what it calls hold a run against the filters' closed forms, its
weights against all that was ever asked of them, and the ways back against the cases in which one is another. No
potential of a case is within MARGIN of the threshold, so no order of summation turns a spike.

In the fixture theta^1, theta^2, ... and the direct ways Y^1, Y^2, ... [n^l, n^0], 1 <= l < LMAX, are lists of rows in
256ths; a case's weights are those after the last step, theta^1 row by row, then theta^2, ...; its spikes are counted
over all steps, a number a layer, from layer 0 to the last hidden one.
"""
import json
import math
import sys
import numpy as np

LAYERS, STEPS = [6, 5, 4, 3], 400  # input first
DT, FAST, SLOW, FORGET = 0.1, 5, 10, 30000  # ms: of currents and traces, of potentials, of v
THRESHOLD, REST, BOUND, TINY = 10, 50, 100, 1e-12  # mV, steps, mV
MARGIN = 1e-3  # mV; 1e-6 would do for float64
INPUT_RATE, TARGET_RATE = 0.05, 0.01  # spikes a step
CASES = [  # sent_back, window, alpha
    ("symmetric", 40, 0.5), ("random", 40, 2.0), ("uniform", 40, 1.0),
    ("symmetric", 7, 0.25), ("random", 7, 12.0), ("uniform", 7, 0.5),
]
CLIPPED = ("random", 7, 12.0)


class Net:
    """A chain and its state; theta and direct are dictionaries by layer, as all else is."""

    def __init__(self, theta, direct, sent_back, window, alpha, dt=DT, dtype=np.float64):
        self.theta = {l: np.array(w, dtype) for l, w in theta.items()}
        self.direct = {l: np.array(y, dtype) for l, y in direct.items()}
        self.sent_back, self.window, self.alpha, self.dt, self.time = sent_back, window, alpha, dt, 0
        self.lmax = max(theta)
        sizes = [theta[1].shape[0]] + [theta[l].shape[1] for l in range(1, self.lmax + 1)]
        layers = lambda first, last: {l: np.zeros(sizes[l], dtype) for l in range(first, last + 1)}
        self.I, self.U, self.wait, self.c, self.d, self.s = (layers(0, self.lmax - 1) for _ in range(6))
        self.a, self.p = layers(1, self.lmax), layers(1, self.lmax)
        self.lam, self.bar, self.g, self.v = ({l: np.zeros_like(w) for l, w in self.theta.items()} for _ in range(4))
        self.S, self.V, self.e = layers(0, self.lmax), layers(0, self.lmax - 1), layers(0, self.lmax - 1)

    def fire(self, inputs):
        """1: currents, potentials, spikes, from the first hidden layer to the output."""
        self.S[self.lmax] = np.asarray(inputs, self.theta[1].dtype)
        for l in range(self.lmax - 1, -1, -1):
            self.I[l] = math.exp(-self.dt / FAST) * self.I[l] + self.theta[l + 1] @ self.S[l + 1]
            free = self.U[l] + (self.I[l] - self.U[l]) * (self.dt / SLOW)
            self.V[l] = np.where(self.wait[l] > 0, 0, free).astype(free.dtype)
            fired = self.V[l] > THRESHOLD
            self.S[l] = fired.astype(free.dtype)
            self.U[l] = np.where(fired, 0, self.V[l]).astype(free.dtype)
            self.wait[l] = np.where(fired, REST, np.maximum(self.wait[l] - 1, 0))

    def filter(self, first, second, l, what):
        """Both filters; the second hears the first's new value."""
        first[l] = math.exp(-self.dt / FAST) * first[l] + what
        second[l] = second[l] + (first[l] - second[l]) * (self.dt / SLOW)

    def send_back(self, targets):
        """3: errors of every layer but the input."""
        self.e[0] = np.asarray(targets, self.theta[1].dtype) - self.S[0]
        for l in range(1, self.lmax):
            if self.sent_back == "symmetric":
                self.e[l] = self.theta[l].T @ self.e[l - 1]
            elif self.sent_back == "random":
                self.e[l] = self.direct[l] @ self.e[0]
            else:
                self.e[l] = np.full_like(self.c[l], self.e[0].sum())

    def remember(self, l):
        """5: the connections of theta^l, which lead to layer l-1."""
        m = self.lam[l] + np.outer(self.s[l - 1], self.p[l])
        self.bar[l] = self.bar[l] + (m - self.bar[l]) * (self.dt / SLOW)
        self.lam[l] = math.exp(-self.dt / FAST) * m
        self.g[l] = self.g[l] + self.bar[l] * self.d[l - 1][:, None]

    def learn(self, l):
        """6: theta^l moves by the window's mean."""
        mean = self.g[l] / self.window
        self.v[l] = np.maximum(math.exp(-self.window * self.dt / FORGET) * self.v[l], mean**2)
        moved = self.theta[l] + self.alpha * mean / (np.sqrt(self.v[l]) + TINY)
        self.theta[l] = np.clip(moved, -BOUND, BOUND)
        self.g[l] = np.zeros_like(mean)

    def step(self, inputs, targets):
        self.time += 1
        self.fire(inputs)
        for l in range(1, self.lmax + 1):
            self.filter(self.a, self.p, l, self.S[l])
        self.send_back(targets)
        for l in range(self.lmax):
            self.filter(self.c, self.d, l, self.e[l])
            self.s[l] = 1 / (1 + np.abs(self.U[l] - THRESHOLD)) ** 2
        for l in range(1, self.lmax + 1):
            self.remember(l)
        if self.time % self.window == 0:
            for l in range(1, self.lmax + 1):
                self.learn(l)


def run(net, inputs, targets, see=()):
    """Every step; what is named in see is kept, a list by layer of an array [steps, ...]."""
    seen = {name: {l: [] for l in getattr(net, name)} for name in see}
    for x, t in zip(inputs, targets):
        net.step(x, t)
        for name in see:
            for l, value in getattr(net, name).items():
                seen[name][l].append(value.copy())
    return {name: {l: np.array(k) for l, k in part.items()} for name, part in seen.items()}


def flat(theta):
    return np.concatenate([theta[l].ravel() for l in sorted(theta)])


def moved(net, theta):
    return {l: net.theta[l] - theta[l] for l in theta}


class Fixture:
    def __init__(self, seed):
        random = np.random.default_rng(seed)
        n, lmax = LAYERS[::-1], len(LAYERS) - 1
        self.inputs = (random.random((STEPS, n[lmax])) < INPUT_RATE).astype(int)
        self.targets = (random.random((STEPS, n[0])) < TARGET_RATE).astype(int)
        whole = lambda rows, columns, low, high: random.integers(256 * low, 256 * high + 1, (rows, columns))
        self.theta_256ths = {l: whole(n[l - 1], n[l], -35, 60) for l in range(1, lmax + 1)}
        self.direct_256ths = {l: whole(n[l], n[0], -1, 1) for l in range(1, lmax)}
        self.theta = {l: w / 256 for l, w in self.theta_256ths.items()}
        self.direct = {l: y / 256 for l, y in self.direct_256ths.items()}

    def net(self, *case, **more):
        return Net(self.theta, self.direct, *case, **more)

    def head(self):
        rows = lambda part: [part[l].tolist() for l in sorted(part)]
        return {
            "layers": LAYERS, "steps": STEPS, "inputs": self.inputs.tolist(), "targets": self.targets.tolist(),
            "theta_256ths": rows(self.theta_256ths), "direct_256ths": rows(self.direct_256ths),
        }


def nearest(potentials):
    """How near any potential came to the threshold; a unit that sits out is at 0, and 10 off."""
    return min(np.abs(k - THRESHOLD).min() for k in potentials.values())


# What must hold whatever a run says.

def close(one, other, within=1e-10):
    one, other = np.asarray(one), np.asarray(other)
    assert one.shape == other.shape
    assert np.abs(one - other).max() <= within * max(1, np.abs(other).max()), np.abs(one - other).max()


def check_kernel():
    """The answer of p to one spike is e^{-t/10} - e^{-t/5}, to the first order in dt."""
    off = []
    for dt in (0.1, 0.05, 0.025):
        net = Net({1: np.zeros((1, 1))}, {}, "symmetric", 10**9, 0, dt)
        steps = round(60 / dt)
        p = run(net, [[int(k == 0)] for k in range(steps)], np.zeros((steps, 1)), ["p"])["p"][1][:, 0]
        t = dt * np.arange(steps)
        off.append(np.abs(p - (np.exp(-t / SLOW) - np.exp(-t / FAST))).max())
    assert off[0] < 0.2 * 0.1 and all(1.9 < a / b < 2.1 for a, b in zip(off, off[1:])), off


def kernel(steps):
    """K[t, k]: what a 1 at step k is worth after both filters at step t, a geometric sum. It is also what current
    gives to a potential that is left alone."""
    n = np.arange(steps)
    r, q = math.exp(-DT / FAST), 1 - DT / SLOW
    answer = DT / SLOW * (q ** (n + 1) - r ** (n + 1)) / (q - r)
    since = n[:, None] - n[None, :]
    return np.where(since >= 0, answer[np.maximum(since, 0)], 0)


def check_filters(fixture):
    """p, d and bar, and so g, are sums over the past; so are I and, since a unit was last let go, its potential."""
    K, n = kernel(STEPS), np.arange(STEPS)
    for sent_back in ("symmetric", "random", "uniform"):
        net = fixture.net(sent_back, 10**9, 0)
        seen = run(net, fixture.inputs, fixture.targets, ["S", "U", "V", "I", "p", "e", "d", "bar"])
        for l in range(net.lmax):
            close(seen["p"][l + 1], K @ seen["S"][l + 1])
            close(seen["d"][l], K @ seen["e"][l])
            s = (1 + np.abs(THRESHOLD - seen["U"][l])) ** -2.0
            bar = np.einsum("tk,ki,kj->tij", K, s, K @ seen["S"][l + 1])
            close(seen["bar"][l + 1], bar)
            close(net.g[l + 1], np.einsum("tij,tk,ki->ij", bar, K, seen["e"][l]))
            since = n[:, None] - n[None, :]
            decay = np.where(since >= 0, math.exp(-DT / FAST) ** np.maximum(since, 0), 0)
            current = decay @ seen["S"][l + 1] @ fixture.theta[l + 1].T
            close(seen["I"][l], current)
            for unit in range(len(current[0])):
                check_unit(current[:, unit], seen["S"][l][:, unit], seen["V"][l][:, unit], seen["U"][l][:, unit])


def check_unit(current, S, V, U):
    """From step `free` on the unit hears its current, until it fires; then it sits out REST steps."""
    free, q = 0, 1 - DT / SLOW
    for t in range(len(S)):
        if t < free:
            assert S[t] == U[t] == V[t] == 0
            continue
        close(V[t], DT / SLOW * (q ** (t - np.arange(free, t + 1)) @ current[free:t + 1]))
        assert S[t] == (V[t] > THRESHOLD) and U[t] == (0 if S[t] else V[t])
        if S[t]:
            free = t + 1 + REST


def check_rest(spikes):
    """No unit fires twice within REST steps."""
    gaps = [np.diff(np.flatnonzero(unit)) for layer in spikes.values() for unit in layer.T]
    assert np.concatenate(gaps).min() > REST


def check_direction():
    """One layer. A spike that was missed pulls up what had fired before it, to that output alone, by alpha after the
    first window; one that was not asked for pushes it down; and an output that does as it should learns nothing."""
    x, none = np.zeros((40, 3)), np.zeros((40, 2))
    x[5, :2] = 1
    t = none.copy()
    t[20, 0] = 1
    net = Net({1: np.zeros((2, 3))}, {}, "symmetric", 40, 0.5)
    assert run(net, x, t, ["S"])["S"][0].sum() == 0
    close(net.theta[1], np.array([[0.5, 0.5, 0], [0, 0, 0]]), 1e-7)  # TINY is not quite nothing
    assert (net.theta[1][1] == 0).all() and (net.theta[1][:, 2] == 0).all()
    strong = {1: np.array([[60.0, 60, 60], [0, 0, 0]])}
    net = Net(strong, {}, "symmetric", 40, 0.5)
    fired = run(net, x, none, ["S"])["S"][0]
    assert fired[:, 0].sum() == 1 and fired[:, 1].sum() == 0
    change = moved(net, strong)[1]
    close(change[0, :2], np.array([-0.5, -0.5]), 1e-7)
    assert (change[1] == 0).all() and change[0, 2] == 0
    net = Net(strong, {}, "symmetric", 40, 0.5)
    run(net, x, fired)
    assert (moved(net, strong)[1] == 0).all()


def check_ways_back(fixture):
    """Each way back is another where it should be, and not elsewhere."""
    product, ways = np.eye(LAYERS[-1]), {}
    for l in sorted(fixture.direct):
        product = product @ fixture.theta[l]
        ways[l] = product.T
    ones = {l: np.ones_like(y) for l, y in fixture.direct.items()}
    ends = {}
    for name, direct, sent_back in (
        ("symmetric", fixture.direct, "symmetric"), ("transposed", ways, "random"),
        ("random", fixture.direct, "random"), ("uniform", fixture.direct, "uniform"),
        ("ones", ones, "random"),
    ):
        net = Net(fixture.theta, direct, sent_back, STEPS, 1.0)  # one window: theta has not moved before its end
        seen = run(net, fixture.inputs, fixture.targets, ["g"])["g"]
        ends[name] = np.concatenate([flat({l: g[-2] for l, g in seen.items()}), flat(net.theta)])
    close(ends["symmetric"], ends["transposed"])
    close(ends["uniform"], ends["ones"])
    for one, other in (("symmetric", "random"), ("symmetric", "uniform"), ("random", "uniform")):
        assert np.abs(ends[one] - ends[other]).max() > 0.1
    # And while theta moves, where it is the same on the way back: uniform and ones, through many windows.
    nets = [Net(fixture.theta, direct, way, 40, 1.0) for direct, way in ((fixture.direct, "uniform"), (ones, "random"))]
    for net in nets:
        run(net, fixture.inputs, fixture.targets)
    close(flat(nets[0].theta), flat(nets[1].theta), 1e-9)
    # The way back of theta is the new theta's.
    net = fixture.net("symmetric", 40, 2.0)
    run(net, fixture.inputs[:40], fixture.targets[:40])
    before = net.theta[1].copy()
    assert np.abs(before - fixture.theta[1]).max() > 1
    net.step(fixture.inputs[40], [1, 0, 0])
    close(net.e[1], before.T @ (np.array([1, 0, 0]) - net.S[0]))


def check_weights(fixture, case, gs, end):
    """Weights from all that was ever asked of them. gs: g before each step's end, that is the sum so far."""
    sent_back, window, alpha = case
    for l, first in fixture.theta.items():
        theta, means = first.copy(), [g / window for g in gs[l]]
        for m in range(len(means)):
            ages = [math.exp(-(m - k) * window * DT / FORGET) * means[k] ** 2 for k in range(m + 1)]
            theta = np.minimum(np.maximum(theta + alpha * means[m] / (np.sqrt(np.max(ages, 0)) + TINY), -BOUND), BOUND)
        close(theta, end[l])


def windows(fixture, case):
    """Steps a net and gives, with it, g of every window's end, from eligibilities and errors."""
    net, gs = fixture.net(*case), {l: [] for l in fixture.theta}
    seen = run(net, fixture.inputs, fixture.targets, ["bar", "d", "V", "S"])
    for l in fixture.theta:
        for k in range(STEPS // net.window):
            part = slice(k * net.window, (k + 1) * net.window)
            gs[l].append(np.einsum("tij,ti->ij", seen["bar"][l][part], seen["d"][l - 1][part]))
    return net, seen, gs


def check(fixture):
    check_kernel()
    check_direction()
    check_filters(fixture)
    check_ways_back(fixture)
    for sent_back in ("symmetric", "random", "uniform"):
        still = fixture.net(sent_back, 7, 0.0)
        run(still, fixture.inputs, fixture.targets)
        assert all((k == 0).all() for k in moved(still, fixture.theta).values())
    assert 0.04 < fixture.inputs.mean() < 0.06 and 0.005 < fixture.targets.mean() < 0.015


def cases(fixture):
    """The cases, and beside them how near a potential came, and how far float32 goes."""
    done, near, off, steps = [], [], 0.0, []
    for case in CASES:
        sent_back, window, alpha = case
        net, seen, gs = windows(fixture, case)
        hidden = {l: seen["S"][l] for l in range(net.lmax)}
        check_rest(hidden)
        check_weights(fixture, case, gs, net.theta)
        near.append(nearest(seen["V"]))
        spikes = [int(k.sum()) for k in hidden.values()]
        assert min(spikes) >= 10 and hidden[0].any(0).all(), spikes
        single = fixture.net(*case, dtype=np.float32)
        coarse = run(single, fixture.inputs, fixture.targets, ["S"])["S"]
        assert single.theta[1].dtype == np.float32 == single.bar[1].dtype
        assert all((coarse[l] == hidden[l]).all() for l in hidden), case
        off = max(off, np.abs(flat(single.theta) - flat(net.theta)).max())
        weights = flat(net.theta)
        assert np.abs(weights).max() <= BOUND
        ends = {bound: int((weights == bound).sum()) for bound in (-BOUND, BOUND)}
        assert (min(ends.values()) > 0) == (case == CLIPPED) and (max(ends.values()) > 0) == (case == CLIPPED), ends
        assert 2 * sum(ends.values()) < len(weights) and np.abs(weights - flat(fixture.theta)).max() > 0.1
        steps.append(hidden)
        done.append({
            "sent_back": sent_back, "window": window, "alpha": alpha, "weights": weights.tolist(), "spikes": spikes,
        })
    # What is learned turns spikes: no case is another.
    for k in range(len(steps)):
        for m in range(k):
            assert any((steps[k][l] != steps[m][l]).any() for l in steps[k]), (k, m)
    assert min(near) > MARGIN, near
    return done, min(near), off


def main():
    fixture = Fixture(60)  # one of few whose every output fires in every case, with no potential near the threshold
    check(fixture)
    done, near, off = cases(fixture)
    line = lambda what: json.dumps(what, separators=(",", ":"), allow_nan=False)
    told = "; ".join(f"{c['sent_back']} {c['window']} {c['spikes']}" for c in done)
    print(f"{len(done)} cases, spikes {told}; no potential within {near:.1e} mV of the threshold; "
          f"float32 moves weights by {off:.1e} mV at most", file=sys.stderr)
    print(line(fixture.head())[:-1] + ',"cases":[\n' + ",\n".join(map(line, done)) + "\n]}")


if __name__ == "__main__":
    main()
