#!/usr/bin/env python3
"""An independent float64 program of the whole family of rules, losses, optimisers and rates. It needs numpy only:

    python3 scripts/oracle_family.py > tests/fixtures/family.json

It shares no code with the crate or with scripts/oracle.py, and is written from the equations: a batch is a matrix
with a sample a COLUMN, weights are a dictionary, and the averages of momentum and Adam are sums over all that was
ever asked of a weight. Layer 0 is the output, LMAX the input; theta^l [n^{l-1}, n^l] brings layer l to layer l-1; f is
the identity at the input; the output is linear. A "change" is the direction in which the loss falls, summed over the
batch. Before it writes anything it checks itself: `check` below holds gradients against central differences, Z-IL
against BP, Kolen-Pollack and BrainProp against what they promise.
"""
import json
import sys
import numpy as np

LAYERS, BATCH, UPDATES, ALPHA = [7, 6, 5, 4], 3, 3, 0.05
N, LMAX = LAYERS[::-1], len(LAYERS) - 1
ACTIVATION = {  # f, f'
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(float)),
}
PLAIN = {
    "rule": "bp", "own": {}, "gamma": None, "steps": None, "activation": "sigmoid", "bias": True, "mean": False,
    "loss": "squared", "optimizer": "sgd", "weight_decay": None, "momentum": None, "betas": None,
    "lr_schedule": "constant", "warmup": 0, "total": 0,
}


# The network.

def drive(case, x, l):
    return x[l] if l == LMAX else ACTIVATION[case["activation"]][0](x[l])


def slope(case, x, l):
    return ACTIVATION[case["activation"]][1](x[l])


def prediction(case, w, x, l):
    """mu^l"""
    return w["theta", l + 1] @ drive(case, x, l + 1) + (w["bias", l + 1][:, None] if case["bias"] else 0)


def forward(case, w, s_in):
    """x^l of every layer, x^l = mu^l."""
    x = {LMAX: s_in}
    for l in reversed(range(LMAX)):
        x[l] = prediction(case, w, x, l)
    return x


def softmax(mu):
    e = np.exp(mu - mu.max(axis=0))
    return e / e.sum(axis=0)


def output_error(case, mu, target):
    """eps^0, minus the gradient of the loss"""
    return target - (softmax(mu) if case["loss"] == "cross-entropy" else mu)


def loss(case, mu, target):
    if case["loss"] == "cross-entropy":
        return -(target * np.log(softmax(mu))).sum()
    return 0.5 * ((target - mu) ** 2).sum()


def product(case, changes, l, eps, x):
    """The Hebbian product that theta^{l+1} and b^{l+1} follow."""
    changes["theta", l + 1] = eps @ drive(case, x, l + 1).T
    if case["bias"]:
        changes["bias", l + 1] = eps.sum(axis=1)


# How weights follow.

def factor(case, n):
    if n <= case["warmup"]:
        return n / case["warmup"]
    done = min((n - 1 - case["warmup"]) / max(case["total"] - case["warmup"], 1), 1)
    if case["lr_schedule"] == "cosine":
        return (1 + np.cos(np.pi * done)) / 2
    if case["lr_schedule"] == "step":
        return 1 if done < 0.5 else 0.1 if done < 0.75 else 0.01
    return 1


def or_else(value, default):
    return default if value is None else value


def follow(case, w, past, changes):
    """Moves weights. `past` holds, for each array, every change it was asked for until now."""
    for key, change in changes.items():
        old, optimizer = w[key], case["optimizer"]
        decay = or_else(case["weight_decay"], 0.01 if optimizer == "adamw" else 0)
        if case["mean"]:
            change = change / BATCH
        if optimizer != "adamw":
            change = change - decay * old
        asked = past.setdefault(key, [])
        asked.append(change)
        n = len(asked)
        weighted = lambda beta, power: sum(beta ** (n - i) * c**power for i, c in enumerate(asked, 1))
        if optimizer == "sgd":
            step = change
        elif optimizer == "momentum":
            step = weighted(or_else(case["momentum"], 0.9), 1)
        else:
            average = lambda beta, power: weighted(beta, power) * (1 - beta) / (1 - beta**n)
            beta1, beta2 = or_else(case["betas"], [0.9, 0.999])
            step = average(beta1, 1) / (np.sqrt(average(beta2, 2)) + 1e-8)
            if optimizer == "adamw":
                step = step - decay * old
        w[key] = old + ALPHA * factor(case, n) * step - float(case["own"].get("decay", 0)) * old


# The rules. Each returns the changes that are made together when the update ends.

def backward(case, w, x, eps0, back):
    """Errors come back over the matrix and from the layer that `back` says."""
    eps, changes = {0: eps0}, {}
    for l in range(1, LMAX):
        matrix, source = back(l)
        eps[l] = slope(case, x, l) * (matrix.T @ eps[source])
    for l in range(LMAX):
        product(case, changes, l, eps[l], x)
    return changes


def alignment(case, w, s_in, target):
    """bp, fa, dfa, usf, frsf, kp"""
    x = forward(case, w, s_in)
    back = {
        "bp": lambda l: (w["theta", l], l - 1),
        "fa": lambda l: (w["feedback", l], l - 1),
        "kp": lambda l: (w["feedback", l], l - 1),
        "dfa": lambda l: (w["direct", l], 0),
        "usf": lambda l: (np.sqrt(2 / (N[l - 1] + N[l])) * np.sign(w["theta", l]), l - 1),
        "frsf": lambda l: (abs(w["feedback", l]) * np.sign(w["theta", l]), l - 1),
    }[case["rule"]]
    changes = backward(case, w, x, output_error(case, x[0], target), back)
    if case["rule"] == "kp":
        changes |= {("feedback", l): changes["theta", l] for l in range(1, LMAX)}
    return changes


def brainprop(case, w, s_in, target):
    x = forward(case, w, s_in)
    chosen = np.eye(N[0])[:, x[0].argmax(axis=0)]  # one-hot columns; the first among equals
    surprise = (chosen * (target - x[0])).sum(axis=0)  # delta = r - mu_s
    gate, changes = chosen, {}
    for l in range(LMAX):
        if l > 0:
            gate = slope(case, x, l) * (w["theta", l].T @ gate)
        product(case, changes, l, surprise * gate, x)
    return changes


def errors(case, w, x, target):
    """Every eps of a predictive coding network, and every mu."""
    own, mu = case["own"], {l: prediction(case, w, x, l) for l in range(LMAX)}
    seen = {l: w["xi", l] @ mu[l] if own.get("errors") == "dense" else mu[l] for l in range(LMAX)}
    return {l: x[l] - seen[l] if l > 0 else output_error(case, seen[0], target) for l in range(LMAX)}, mu


def infer(case, w, x, eps):
    """x after one step of inference."""
    own, moved = case["own"], dict(x)
    for l in range(1, LMAX):
        matrix = w["theta" if own.get("feedback", "exact") == "exact" else "feedback", l]
        gain = slope(case, x, l) if own.get("slope", "on") == "on" else 1
        moved[l] = x[l] + or_else(case["gamma"], 1) * (gain * (matrix.T @ eps[l - 1]) - eps[l])
    return moved


def inference(case, w, s_in, target):
    """il and rpc: `steps` steps of inference, then every weight."""
    x, changes = forward(case, w, s_in), {}
    for _ in range(case["steps"]):
        x = infer(case, w, x, errors(case, w, x, target)[0])
    eps, mu = errors(case, w, x, target)
    for l in range(LMAX):
        product(case, changes, l, eps[l], x)
    if case["own"].get("feedback") == "learned":
        changes |= {("feedback", l): changes["theta", l] for l in range(1, LMAX)}
    if case["own"].get("errors") == "dense":
        changes |= {("xi", l): eps[l] @ mu[l].T for l in range(LMAX)}
    return changes


def zero_divergence(case, w, past, s_in, target):
    """zil, which moves theta^{t+1} at moment t, while inference goes on."""
    x = forward(case, w, s_in)
    for t in range(LMAX):
        eps, changes = errors(case, w, x, target)[0], {}
        product(case, changes, t, eps[t], x)
        x = infer(case, w, x, eps)
        follow(case, w, past, changes)


def update(case, w, past, s_in, target):
    if case["rule"] == "zil":
        return zero_divergence(case, w, past, s_in, target)
    rule = {"brainprop": brainprop, "il": inference, "rpc": inference}.get(case["rule"], alignment)
    return follow(case, w, past, rule(case, w, s_in, target))


# The fixture.

class Fixture:
    def __init__(self, rng):
        integers = lambda low, high, *shape: rng.integers(low, high + 1, shape)
        signed = lambda high, *shape: integers(1, high, *shape) * rng.choice([-1, 1], shape)  # never 0
        hidden = range(1, LMAX)
        self.pixels, self.labels = integers(1, 255, BATCH * UPDATES, N[LMAX]), integers(0, N[0] - 1, BATCH * UPDATES)
        # Multiples of 1/256, which float32 holds exactly.
        self.parts = {
            "theta": {l: signed(192, N[l - 1], N[l]) for l in range(1, LMAX + 1)},
            "bias": {l: signed(64, N[l - 1]) for l in range(1, LMAX + 1)},
            "feedback": {l: signed(192, N[l - 1], N[l]) for l in hidden},
            "direct": {l: signed(192, N[0], N[l]) for l in hidden},
            "xi": {l: integers(1, 32, N[l], N[l]) for l in range(LMAX)},
        }

    def weights(self):
        return {(name, l): k / 256 for name, part in self.parts.items() for l, k in part.items()}

    def batch(self, number):
        rows = slice(number * BATCH, (number + 1) * BATCH)
        return self.pixels[rows].T / 255, np.eye(N[0])[:, self.labels[rows]]

    def run(self, case, each=lambda w, number: None):
        """The weights after each update."""
        w, past, after = self.weights(), {}, []
        for number in range(UPDATES):
            each(w, number)
            update(case, w, past, *self.batch(number))
            after.append(dict(w))
        return after

    def head(self):
        head = {"layers": LAYERS, "batch": BATCH, "alpha": ALPHA, "pixels": self.pixels.tolist()}
        head["labels"] = self.labels.tolist()
        return head | {f"{name}_256ths": [k.tolist() for k in part.values()] for name, part in self.parts.items()}


def flat(case, w, names=("theta", "bias")):
    """theta^1 row by row, b^1, theta^2, ..."""
    names = [name for name in names if name != "bias" or case["bias"]]
    return np.concatenate([w[name, l].ravel() for l in range(1, LMAX + 1) for name in names if (name, l) in w])


def cases():
    both = lambda rule, **more: [  # both activations, with and without biases
        PLAIN | {"rule": rule, "activation": a, "bias": b} | more for a in ("sigmoid", "tanh") for b in (True, False)
    ]
    kp, entropy = {"own": {"decay": "0.01"}}, {"loss": "cross-entropy"}
    cosine, step = {"lr_schedule": "cosine"}, {"lr_schedule": "step"}
    made = [case for rule in ("fa", "dfa", "usf", "frsf") for case in both(rule)] + both("kp", **kp)
    for rule, own in (("fa", {}), ("dfa", {}), ("kp", kp)):
        made += [both(rule, **entropy, **own)[i] for i in (0, 3)]
    optimizers = [
        {"optimizer": "momentum"},
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"weight_decay": 0.1},
    ]
    made += [PLAIN | {"rule": "kp"} | kp | how for how in [*optimizers, {"mean": True}, cosine | {"total": 4}]]
    relaxed = {"rule": "rpc", "gamma": 0.1, "steps": 5, "activation": "tanh"}
    switches = lambda feedback, slope, errors: {"own": {"feedback": feedback, "slope": slope, "errors": errors}}
    for feedback in ("learned", "fixed", "exact"):
        for gain in ("off", "on"):
            made += [PLAIN | relaxed | switches(feedback, gain, e) for e in ("one-to-one", "dense")]
    learned = PLAIN | relaxed | switches("learned", "on", "one-to-one")
    made += [learned | {"optimizer": "momentum", "weight_decay": 0.1}, learned | {"optimizer": "adam"}]
    dense = PLAIN | relaxed | switches("learned", "on", "dense")
    made += [dense | {"mean": True}, dense | {"optimizer": "adam", "mean": True}]
    for activation in ("sigmoid", "relu"):
        choose = {"rule": "brainprop", "own": {"explore": "0"}, "activation": activation}
        made += [PLAIN | choose | {"bias": bias} for bias in (True, False)]
    ways = [
        *optimizers,
        {"optimizer": "momentum", "momentum": 0.5},
        {"optimizer": "adamw"},
        {"optimizer": "adam", "weight_decay": 0.05},
        {"optimizer": "momentum", "weight_decay": 0.1, "mean": True} | entropy,
        {"optimizer": "adam", "mean": True},
        {"weight_decay": 0.1, "mean": True},
        {"optimizer": "adam", "betas": [0.8, 0.95], "total": 4} | cosine,
        entropy,
        {"mean": True},
        {"warmup": 2},
        # Three updates of six are all warm-up; shorter runs reach the slopes.
        *[ramp | {"warmup": 2, "total": 6} for ramp in (cosine, step)],
        *[ramp | {"total": 4} for ramp in (cosine, step)],
        *[cosine | {"warmup": 1, "total": 3}, step | {"total": 2}],
    ]
    for rule in ({"rule": "bp"}, {"rule": "zil"}, {"rule": "il", "gamma": 0.1, "steps": 4}):
        made += [PLAIN | rule | way for way in ways]
    return made


# What must hold, whatever this program says.

def close(a, b, tolerance):
    off = max(np.abs(a[key] - b[key]).max() / (np.abs(b[key]).max() + 1e-300) for key in b)
    assert a.keys() == b.keys() and off < tolerance, off


def falls(energy, arrays):
    """Minus the gradient of energy() in every one of these arrays, by central differences."""
    found = {}
    for key, array in arrays.items():
        found[key] = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            here, values = array[at], []
            for h in (-2e-4, -1e-4, 1e-4, 2e-4):
                array[at] = here + h
                values.append(energy())
            array[at] = here
            found[key][at] = (values[3] - 8 * values[2] + 8 * values[1] - values[0]) / 12e-4
    return found


def check(fixture):
    s_in, target = fixture.batch(0)
    w = fixture.weights()
    learns = {key: w[key] for key in w if key[0] in ("theta", "bias")}
    output = lambda case: forward(case, w, s_in)[0]
    for activation in ACTIVATION:
        plain = PLAIN | {"activation": activation}
        # BP is the gradient of either loss, and so is inference of the energy, in x and in every weight.
        for kind in ("squared", "cross-entropy"):
            case = plain | {"loss": kind}
            close(alignment(case, w, s_in, target), falls(lambda: loss(case, output(case), target), learns), 1e-8)
            il = case | {"rule": "il", "gamma": 1.0, "steps": 0}
            rng = np.random.default_rng(1)
            x = {l: v + 0.3 * rng.standard_normal(v.shape) * (l < LMAX) for l, v in forward(il, w, s_in).items()}
            eps = errors(il, w, x, target)[0]

            def energy():
                mu = {l: prediction(il, w, x, l) for l in range(LMAX)}
                return loss(il, mu[0], target) + sum(((x[l] - mu[l]) ** 2).sum() for l in range(1, LMAX)) / 2

            moved, changes = infer(il, w, x, eps), {}
            for l in range(LMAX):
                product(il, changes, l, eps[l], x)
            hidden = {l: x[l] for l in range(1, LMAX)}
            close({l: moved[l] - x[l] for l in hidden}, falls(energy, hidden), 1e-8)
            close(changes, falls(energy, learns), 1e-8)
        # BrainProp is BP of the squared error of the chosen output.
        case = plain | {"rule": "brainprop"}
        chosen = output(case).argmax(axis=0), np.arange(BATCH)
        told = lambda: 0.5 * ((target - output(case))[chosen] ** 2).sum()
        close(brainprop(case, w, s_in, target), falls(told, learns), 1e-8)
        held = output(case).copy()
        held[chosen] = target[chosen]
        close(brainprop(case, w, s_in, target), alignment(plain, w, s_in, held), 1e-12)
    # Feedback over theta itself is BP; direct feedback is plain feedback where a layer hears the output anyway.
    tied = w | {("feedback", l): w["theta", l] for l in range(1, LMAX)}
    close(alignment(PLAIN | {"rule": "fa"}, tied, s_in, target), alignment(PLAIN, w, s_in, target), 1e-14)
    one = w | {("direct", 1): w["feedback", 1]}
    got, want = (alignment(PLAIN | {"rule": rule}, one, s_in, target) for rule in ("dfa", "fa"))
    assert all((got[name, l] == want[name, l]).all() for name in ("theta", "bias") for l in (1, 2))
    # Relaxed PC that relaxes nothing is IL.
    switched = {"own": {"feedback": "exact", "slope": "on", "errors": "one-to-one"}, "gamma": 0.1, "steps": 5}
    close(*(inference(PLAIN | switched | more, w, s_in, target) for more in ({}, {"own": {}})), 1e-15)
    # B - theta of Kolen-Pollack shrinks by 1 - decay an update, whatever the optimiser.
    for more in ({}, {"optimizer": "momentum"}, {"optimizer": "adam"}, {"activation": "tanh", "bias": False}):
        after = [w] + fixture.run(PLAIN | {"rule": "kp", "own": {"decay": "0.01"}} | more)
        gaps = [{l: v["feedback", l] - v["theta", l] for l in range(1, LMAX)} for v in after]
        for old, new in zip(gaps, gaps[1:]):
            close(new, {l: 0.99 * gap for l, gap in old.items()}, 1e-13)


def steady(fixture, case):
    """No sign, kink or choice of a case hangs on a rounding of float32."""

    def each(w, number):
        x = forward(case, w, fixture.batch(number)[0])
        if case["rule"] in ("usf", "frsf"):
            assert min(np.abs(w["theta", l]).min() for l in range(1, LMAX)) > 1e-4
        if case["activation"] == "relu":
            assert min(np.abs(x[l]).min() for l in range(1, LMAX)) > 1e-3
        if case["rule"] == "brainprop":
            assert np.diff(np.sort(x[0], axis=0)[-2:], axis=0).min() > 1e-3

    return each


def main():
    fixture = Fixture(np.random.default_rng(5093))  # one of few where BrainProp chooses every output, rightly and wrongly
    check(fixture)
    body, apart = [], 0.0
    for case in cases():
        after = fixture.run(case, steady(fixture, case))
        if case["rule"] == "zil":  # its own dynamics, held to BP, whose numbers are written
            same = fixture.run(case | {"rule": "bp"})
            apart = max(apart, *(np.abs(flat(case, z) - flat(case, b)).max() for z, b in zip(after, same)))
            after = same
        case |= {f"after_{n}": flat(case, after[n - 1]).tolist() for n in (1, UPDATES)}
        if case["rule"] == "kp" or case["own"].get("feedback") == "learned":
            case["feedback_after_3"] = flat(case, after[-1], ["feedback"]).tolist()
        body.append(json.dumps(case, separators=(",", ":"), allow_nan=False))
    assert apart < 1e-12, apart
    print(f"{len(body)} cases; Z-IL is within {apart:.1e} of BP", file=sys.stderr)
    head = json.dumps(fixture.head(), separators=(",", ":"))
    print(head[:-1] + ',"cases":[\n' + ",\n".join(body) + "\n]}")


if __name__ == "__main__":
    main()
