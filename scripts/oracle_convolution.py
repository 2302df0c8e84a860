#!/usr/bin/env python3
"""An independent float64 program of networks with convolutions, for tests/numerics/convolution.rs. It needs numpy only:

    python3 scripts/oracle_convolution.py > tests/fixtures/convolution.json

It follows the equations as they are written (every layer at every t, eps = x - mu) and shares no code with the crate. Layers
are arrays [sample, channel, row, column]; a convolution shifts and adds whole images, and what comes back is added tap by tap.
Weights are [channels, (row, column, channel below)], and a flattened grid is place after place, as the crate has them.
"""
import json
import numpy as np

BATCH, UPDATES, ALPHA = 3, 3, 0.0625
# Input first, as the crate's notation has them, and as this program reads them.
NETWORKS = [
    ("2x9x9,3c3p1,m2,4c2,a2s1,5,3", (2, 9, 9), [
        [("conv", 3, 3, 1, 1)],
        [("max", 2, 2), ("conv", 4, 2, 1, 0)],
        [("mean", 2, 1), ("dense", 5)],
        [("dense", 3)],
    ]),
    ("9x8,4c3s2p1,m2s1,3c1,2", (1, 9, 8), [
        [("conv", 4, 3, 2, 1)],
        [("max", 2, 1), ("conv", 3, 1, 1, 0)],
        [("dense", 2)],
    ]),
]
F = {
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "leaky-relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1.0, 0.01)),
}
RULES = [
    {"rule": "bp"},
    {"rule": "il", "gamma": 0.1, "steps": 12},
    {"rule": "il", "gamma": 0.5, "steps": 5},
    {"rule": "zil", "gamma": 1.0},
    {"rule": "zil", "gamma": 0.5},
    {"rule": "ipc", "gamma": 0.1, "steps": 4},
    {"rule": "epc", "gamma": 0.3, "steps": 3},
    {"rule": "fa"},
    {"rule": "kp", "decay": 0.01},
]


def views(image, size, stride):
    """For each tap of a window, row by row: the numbers that all windows have there, as a view that can be added to."""
    rows = (image.shape[2] - size) // stride + 1
    columns = (image.shape[3] - size) // stride + 1
    for ky in range(size):
        for kx in range(size):
            yield image[:, :, ky:ky + stride * rows:stride, kx:kx + stride * columns:stride]


class Convolution:
    def __init__(self, shape, channels, size, stride, padding):
        self.below, self.size, self.stride, self.padding = shape, size, stride, padding
        side = lambda n: (n + 2 * padding - size) // stride + 1
        self.shape = (channels, side(shape[1]), side(shape[2]))
        self.weights = (channels, size * size * shape[0])

    def pad(self, image):
        return np.pad(image, ((0, 0), (0, 0), (self.padding,) * 2, (self.padding,) * 2))

    def taps(self, theta):
        return theta.reshape(self.shape[0], self.size * self.size, self.below[0]).transpose(1, 0, 2)

    def forward(self, theta, bias, h):
        out = np.zeros((len(h), *self.shape)) + bias[None, :, None, None]
        for w, view in zip(self.taps(theta), views(self.pad(h), self.size, self.stride)):
            out += np.einsum("oc,bcyx->boyx", w, view)
        return out

    def back(self, theta, eps):
        wide = self.pad(np.zeros((len(eps), *self.below)))
        for w, view in zip(self.taps(theta), views(wide, self.size, self.stride)):
            view += np.einsum("oc,boyx->bcyx", w, eps)
        p = self.padding
        return wide[:, :, p:wide.shape[2] - p, p:wide.shape[3] - p]

    def change(self, eps, h):
        taps = [np.einsum("boyx,bcyx->oc", eps, v) for v in views(self.pad(h), self.size, self.stride)]
        return np.stack(taps, axis=1).reshape(self.weights), eps.sum(axis=(0, 2, 3))


class Dense:
    def __init__(self, shape, n):
        self.below, self.shape = shape, (n, 1, 1)
        self.weights = (n, int(np.prod(shape)))

    def flat(self, h):
        return h.transpose(0, 2, 3, 1).reshape(len(h), -1)

    def forward(self, theta, bias, h):
        return (self.flat(h) @ theta.T + bias)[:, :, None, None]

    def back(self, theta, eps):
        c, rows, columns = self.below
        return (eps[:, :, 0, 0] @ theta).reshape(len(eps), rows, columns, c).transpose(0, 3, 1, 2)

    def change(self, eps, h):
        return eps[:, :, 0, 0].T @ self.flat(h), eps.sum(axis=(0, 2, 3))


class Pool:
    def __init__(self, shape, maximum, size, stride):
        self.below, self.maximum, self.size, self.stride = shape, maximum, size, stride
        self.shape = (shape[0], (shape[1] - size) // stride + 1, (shape[2] - size) // stride + 1)

    def forward(self, h):
        all_taps = np.stack(list(views(h, self.size, self.stride)))
        return all_taps.max(axis=0) if self.maximum else all_taps.mean(axis=0)

    def back(self, h, eps):
        out = np.zeros_like(h)
        first = np.stack(list(views(h, self.size, self.stride))).argmax(axis=0)
        for k, view in enumerate(views(out, self.size, self.stride)):
            view += eps * (first == k) if self.maximum else eps / self.size**2
        return out


class Net:
    def __init__(self, shape, groups):
        """links[l] brings layer l + 1 to layer l: pools, and then weights."""
        self.links = []
        for group in groups:
            pools = []
            for kind, *numbers in group:
                if kind in ("max", "mean"):
                    pools.append(Pool(shape, kind == "max", *numbers))
                    shape = pools[-1].shape
                else:
                    weights = Convolution(shape, *numbers) if kind == "conv" else Dense(shape, *numbers)
                    shape = weights.shape
            self.links.insert(0, (pools, weights))

    def pooled(self, l, h):
        ways = [h]
        for pool in self.links[l][0]:
            ways.append(pool.forward(ways[-1]))
        return ways


class Update:
    """One weight update, in place; feedback is what fa and kp send back through in the place of theta."""

    def __init__(self, net, theta, bias, feedback, case, s_in, s_out):
        self.net, self.theta, self.bias, self.case, self.s_out = net, theta, bias, case, s_out
        self.backward = feedback if case["rule"] in ("fa", "kp") else theta
        self.feedback, self.lmax = feedback, len(theta)
        self.f, self.slope = F[case["activation"]]
        self.rate = ALPHA / (len(s_in) if case["mean"] else 1)
        self.x = [None] * self.lmax + [s_in]
        for l in range(self.lmax - 1, -1, -1):
            self.x[l] = self.predict(l)
        {"bp": self.bp, "fa": self.bp, "kp": self.kp, "epc": self.epc}.get(case["rule"], self.relax)()

    def drive(self, l):
        return self.x[l] if l == self.lmax else self.f(self.x[l])

    def predict(self, l):
        return self.net.links[l][1].forward(self.theta[l], self.bias[l], self.net.pooled(l, self.drive(l + 1))[-1])

    def back(self, l, eps):
        """What comes back to layer l from eps of layer l - 1."""
        pools, weights = self.net.links[l - 1]
        ways, error = self.net.pooled(l - 1, self.drive(l)), weights.back(self.backward[l - 1], eps)
        for pool, h in zip(pools[::-1], ways[-2::-1]):
            error = pool.back(h, error)
        return self.slope(self.x[l]) * error

    def learn(self, l, eps):
        dtheta, dbias = self.net.links[l][1].change(eps, self.net.pooled(l, self.drive(l + 1))[-1])
        return l, self.rate * dtheta, self.rate * dbias * self.case["bias"]

    def apply(self, moves):
        for l, dtheta, dbias in moves:
            self.theta[l] += dtheta
            self.bias[l] += dbias

    def deltas(self):
        delta = [self.s_out - self.x[0]]
        for l in range(1, self.lmax):
            delta.append(self.back(l, delta[-1]))
        return delta

    def bp(self):
        moves = [self.learn(l, delta) for l, delta in enumerate(self.deltas())]
        self.apply(moves)

    def kp(self):
        delta = self.deltas()
        moves = [self.learn(l, delta[l]) for l in range(self.lmax)]
        keep = 1 - self.case["decay"]
        for l in range(self.lmax):
            self.theta[l] *= keep
            self.bias[l] *= keep
        self.apply(moves)
        for l, dtheta, _ in moves[:-1]:
            self.feedback[l] = keep * self.feedback[l] + dtheta

    def epc(self):
        errors = [0 * x for x in self.x]
        for _ in range(self.case["steps"]):
            delta = self.deltas()
            for l in range(1, self.lmax):
                errors[l] = errors[l] + self.case["gamma"] * (delta[l] - errors[l])
            for l in range(self.lmax - 1, -1, -1):
                self.x[l] = self.predict(l) + errors[l]
        self.apply([self.learn(l, errors[l] if l > 0 else self.s_out - self.x[0]) for l in range(self.lmax)])

    def relax(self):
        case, rule = self.case, self.case["rule"]
        self.x[0] = self.s_out
        last = {"il": case.get("steps"), "ipc": case.get("steps", 0) - 1, "zil": self.lmax - 1}[rule]
        for t in range(last + 1):
            eps = [self.x[l] - self.predict(l) for l in range(self.lmax)]
            learns = {"zil": lambda l: t == l, "ipc": lambda l: True, "il": lambda l: t == last}[rule]
            moves = [self.learn(l, eps[l]) for l in range(self.lmax) if learns(l)]
            step = [self.back(l, eps[l - 1]) - eps[l] for l in range(1, self.lmax)]
            self.apply(moves)
            for l in range(1, self.lmax):
                self.x[l] = self.x[l] + case["gamma"] * step[l - 1]


def main():
    rng = np.random.default_rng(2022)
    samples, networks = BATCH * UPDATES, []
    integers = lambda arrays: [a.tolist() for a in arrays]
    for n, (layers, shape, groups) in enumerate(NETWORKS):
        net = Net(shape, groups)
        classes = groups[-1][-1][1]
        pixels = rng.integers(0, 256, (samples, *shape))
        labels = rng.integers(0, classes, samples)
        # Multiples of 1/256, which float32 holds exactly.
        theta0 = [rng.integers(-128, 129, weights.weights) for _, weights in net.links]
        bias0 = [rng.integers(-64, 65, weights.shape[0]) for _, weights in net.links]
        other = np.random.default_rng(1994)
        feedback0 = [other.integers(-128, 129, weights.weights) for _, weights in net.links[:-1]]
        cases = []
        for i, rule in enumerate(RULES):
            for j, activation in enumerate(F):
                case = {**rule, "activation": activation, "bias": (i + j + n) % 2 == 0, "mean": (i + n) % 3 == 1}
                theta = [m / 256 for m in theta0]
                bias = [b / 256 * case["bias"] for b in bias0]
                feedback = [m / 256 for m in feedback0]
                for k in range(UPDATES):
                    rows = slice(k * BATCH, (k + 1) * BATCH)
                    target = np.eye(classes)[labels[rows]][:, :, None, None]
                    Update(net, theta, bias, feedback, case, pixels[rows] / 255, target)
                parts = [np.append(m.ravel(), b if case["bias"] else []) for m, b in zip(theta, bias)]
                case["after_3"] = [float(f"{v:.14g}") for v in np.concatenate(parts)]
                cases.append(case)
        head = {"layers": layers, "batch": BATCH, "alpha": ALPHA}
        head |= {"pixels": pixels.reshape(samples, -1).tolist(), "labels": labels.tolist()}
        head |= {"theta_256ths": integers(theta0), "bias_256ths": integers(bias0)}
        head |= {"feedback_256ths": integers(feedback0)}
        body = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        networks.append(json.dumps(head, separators=(",", ":"))[:-1] + ',"cases":[\n' + body + "\n]}")
    print("[" + ",\n".join(networks) + "]")


if __name__ == "__main__":
    main()
