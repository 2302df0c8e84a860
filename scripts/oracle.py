#!/usr/bin/env python3
"""An independent float64 program of the four rules, for tests/numerics/oracle.rs. It needs numpy only:

    python3 scripts/oracle.py > tests/fixtures/oracle.json

It follows the paper's equations as they are written (every layer at every t, eps = x - mu), shares no code
with the crate, and knows no schedule, no error coordinates and no float32. Layer 0 is the output; theta[l]
feeds layer l (the paper's theta^{l+1}); f is not applied to the input; the output is linear.
"""
import json
import numpy as np

LAYERS = [6, 3, 4, 2]  # input first
BATCH, UPDATES, ALPHA = 3, 3, 0.125
F = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.where(x > 0, x, 0.0),
    "leaky-relu": lambda x: np.where(x > 0, x, 0.01 * x),
}
SLOPE = {
    "sigmoid": lambda x: F["sigmoid"](x) * F["sigmoid"](-x),
    "tanh": lambda x: 1 / np.cosh(x) ** 2,
    "relu": lambda x: np.where(x > 0, 1.0, 0.0),
    "leaky-relu": lambda x: np.where(x > 0, 1.0, 0.01),
}
RULES = [
    {"rule": "bp"},
    {"rule": "il", "gamma": 0.1, "steps": 20},
    {"rule": "il", "gamma": 1.0, "steps": 4},
    {"rule": "zil", "gamma": 1.0},
    {"rule": "zil", "gamma": 0.5},
    {"rule": "fazil", "gamma": 1.0, "steps": 3, "td": 1},
    {"rule": "fazil", "gamma": 1.0, "steps": 6, "td": 4},
]


def update(theta, bias, case, s_in, s_out):
    """One weight update, in place."""
    lmax = len(theta)
    f, slope = F[case["activation"]], SLOPE[case["activation"]]
    drive = lambda x: [f(v) for v in x[:-1]] + [x[-1]]
    rate = ALPHA / (len(s_in) if case["mean"] else 1)

    def predict(x):
        h = drive(x)
        return [h[l + 1] @ theta[l].T + (bias[l] if case["bias"] else 0) for l in range(lmax)]

    def learn(l, eps, x):
        delta = rate * np.einsum("bi,bj->ij", eps, drive(x)[l + 1])
        return l, delta, rate * eps.sum(axis=0)

    x = [None] * lmax + [s_in]
    for l in range(lmax - 1, -1, -1):
        above = s_in if l == lmax - 1 else f(x[l + 1])
        x[l] = above @ theta[l].T + (bias[l] if case["bias"] else 0)

    if case["rule"] == "bp":
        delta = [s_out - x[0]]
        for l in range(1, lmax):
            delta.append(slope(x[l]) * (delta[-1] @ theta[l - 1]))
        moves = [learn(l, delta[l], x) for l in range(lmax)]
        last = -1
    else:
        x[0] = s_out
        last = {"il": case.get("steps"), "zil": lmax - 1, "fazil": case.get("steps")}[case["rule"]]
    quiet = [np.full(v.shape, 10**6) for v in x[:lmax]]  # before t = 0 every unit has long been silent
    for t in range(last + 1):
        eps = [a - m for a, m in zip(x, predict(x))]
        eps = [np.where(abs(e) < 1e-13, 0.0, e) for e in eps]  # zero up to float64's rounding
        fire = [(e != 0) & (q >= case.get("td", 0)) for e, q in zip(eps, quiet)]
        quiet = [np.where(e == 0, q + 1, 0) for e, q in zip(eps, quiet)]
        if case["rule"] == "fazil":
            moves = [learn(l, eps[l] * fire[l], x) for l in range(lmax)]
        else:
            moves = [learn(l, eps[l], x) for l in range(lmax) if t == (l if case["rule"] == "zil" else last)]
        step = [slope(x[l]) * (eps[l - 1] @ theta[l - 1]) - eps[l] for l in range(1, lmax)]
        if t < last:
            for l, dtheta, dbias in moves:
                theta[l] += dtheta
                bias[l] += dbias
            moves = []
            for l in range(1, lmax):
                x[l] = x[l] + case["gamma"] * step[l - 1]
    for l, dtheta, dbias in moves:
        theta[l] += dtheta
        bias[l] += dbias


def main():
    rng = np.random.default_rng(2020)
    n = LAYERS[::-1]
    samples = BATCH * UPDATES
    pixels = rng.integers(0, 256, (samples, n[-1]))
    labels = rng.integers(0, n[0], samples)
    # Multiples of 1/256, which float32 holds exactly.
    theta0 = [rng.integers(-256, 257, (n[l], n[l + 1])) for l in range(len(n) - 1)]
    bias0 = [rng.integers(-64, 65, n[l]) for l in range(len(n) - 1)]
    cases = []
    for i, rule in enumerate(RULES):
        for j, activation in enumerate(F):
            # Each rule and each activation meets biases and means, on and off.
            case = {**rule, "activation": activation, "bias": (i + j) % 2 == 0, "mean": (i + j // 2) % 2 == 1}
            theta, bias = [m / 256 for m in theta0], [b / 256 for b in bias0]
            for update_number in range(UPDATES):
                rows = slice(update_number * BATCH, (update_number + 1) * BATCH)
                update(theta, bias, case, pixels[rows] / 255, np.eye(n[0])[labels[rows]])
                if update_number + 1 in (1, UPDATES):
                    # theta^1 row by row, b^1, theta^2, ...
                    parts = [np.append(m.ravel(), b if case["bias"] else []) for m, b in zip(theta, bias)]
                    case[f"after_{update_number + 1}"] = [float(f"{v:.14g}") for v in np.concatenate(parts)]
            cases.append(case)
    integers = lambda arrays: [a.tolist() for a in arrays]
    head = {"layers": LAYERS, "batch": BATCH, "alpha": ALPHA, "pixels": pixels.tolist(), "labels": labels.tolist()}
    head |= {"theta_256ths": integers(theta0), "bias_256ths": integers(bias0)}
    body = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    print(json.dumps(head, separators=(",", ":"))[:-1] + ',"cases":[\n' + body + "\n]}")


if __name__ == "__main__":
    main()
