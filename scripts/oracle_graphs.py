#!/usr/bin/env python3
"""An independent float64 program of networks that are no chain, for tests/numerics/graphs.rs. It needs numpy only:

    python3 scripts/oracle_graphs.py > tests/fixtures/graphs.json

It follows the equations as they are written (every vertex at every t, eps = x - mu), takes its convolutions and pools from
oracle_convolution.py, and shares no code with the crate. It levels its graphs by itself: identity vertices hold what an edge
carries over several levels, one a level for all edges from a vertex; edges from the input, which is clamped, need none.
"""
import json
import numpy as np
from oracle_convolution import F, RULES, Convolution, Dense, Pool

BATCH, UPDATES, ALPHA = 3, 3, 0.0625
# The crate's notation, and the same as this program reads it: input first, every vertex a list of (source, pools, weights, name of
# the weights); no weights are an identity.
dense, conv = (lambda n: ("dense", n)), (lambda *numbers: ("conv", *numbers))
NETWORKS = [
    ("9=in,6=a,6,6+a=b,6,6+b+a=c,5+in:5+a:5,3", (9, 1, 1), [
        [(0, [], dense(6), None)],
        [(1, [], dense(6), None)],
        [(2, [], dense(6), None), (1, [], None, None)],
        [(3, [], dense(6), None)],
        [(4, [], dense(6), None), (3, [], None, None), (1, [], None, None)],
        [(5, [], dense(5), None), (0, [], dense(5), None), (1, [], dense(5), None)],
        [(6, [], dense(3), None)],
    ]),
    ("2x7x6,3c3p1=a,3c3p1,3c3p1+a=b,4c3s2p1,4c3p1+b:4c1s2,a2,2", (2, 7, 6), [
        [(0, [], conv(3, 3, 1, 1), None)],
        [(1, [], conv(3, 3, 1, 1), None)],
        [(2, [], conv(3, 3, 1, 1), None), (1, [], None, None)],
        [(3, [], conv(4, 3, 2, 1), None)],
        [(4, [], conv(4, 3, 1, 1), None), (3, [], conv(4, 1, 2, 0), None)],
        [(5, [("mean", 2, 2)], dense(2), None)],
    ]),
    ("4x5=in,in.0:6~u,6~w+in.1:6~u,6~w+in.2:6~u,6~w+in.3:6~u,3", (1, 4, 5), [
        [(0, [("row", 0)], dense(6), "u")],
        [(1, [], dense(6), "w"), (0, [("row", 1)], dense(6), "u")],
        [(2, [], dense(6), "w"), (0, [("row", 2)], dense(6), "u")],
        [(3, [], dense(6), "w"), (0, [("row", 3)], dense(6), "u")],
        [(4, [], dense(3), None)],
    ]),
]


class Row:
    """A row of an image of one channel."""

    def __init__(self, shape, row):
        self.row, self.shape = row, (shape[2], 1, 1)

    def forward(self, h):
        return h[:, 0, self.row, :, None, None]


class Edge:
    """What one vertex sends another: pools, and then weights, or nothing."""

    def __init__(self, source, shape, pools, weights, name):
        self.source, self.pools, self.name, self.matrix = source, [], name, None
        for kind, *numbers in pools:
            pool = Row(shape, *numbers) if kind == "row" else Pool(shape, kind == "max", *numbers)
            shape = pool.shape
            self.pools.append(pool)
        self.weights = weights and (Convolution if weights[0] == "conv" else Dense)(shape, *weights[1:])
        self.shape = self.weights.shape if weights else shape

    def ways(self, h):
        ways = [h]
        for pool in self.pools:
            ways.append(pool.forward(ways[-1]))
        return ways

    def forward(self, theta, bias, h):
        h = self.ways(h)[-1]
        return h if self.matrix is None else self.weights.forward(theta[self.matrix], bias[self.matrix], h)

    def back(self, theta, h, eps):
        error = eps if self.matrix is None else self.weights.back(theta[self.matrix], eps)
        for pool, h in zip(self.pools[::-1], self.ways(h)[-2::-1]):
            error = pool.back(h, error)
        return error

    def change(self, eps, h):
        return self.weights.change(eps, self.ways(h)[-1])


class Net:
    def __init__(self, shape, vertices):
        """arrivals[v]: the edges that arrive at a vertex; 0 is the input, and the last vertex the output."""
        self.shapes, self.arrivals, self.holds = [shape], [[]], [False]
        for arrivals in vertices:
            self.arrivals.append([Edge(source, self.shapes[source], *rest) for source, *rest in arrivals])
            self.shapes.append(self.arrivals[-1][0].shape)
            self.holds.append(False)
        self.output = len(vertices)
        self.level()
        self.number()
        self.pad()
        self.level()

    def level(self):
        """The longest way to the output. Every vertex stands behind what it sends to, but for those that hold."""
        self.levels = [0] * len(self.shapes)
        for _ in self.shapes:
            for v, arrivals in enumerate(self.arrivals):
                for edge in arrivals:
                    self.levels[edge.source] = max(self.levels[edge.source], self.levels[v] + 1)

    def number(self):
        """Matrices from the output up: by level, then as written."""
        names, self.matrices = {}, []
        for v in sorted(range(len(self.shapes)), key=lambda v: (self.levels[v], v)):
            for edge in (edge for edge in self.arrivals[v] if edge.weights):
                edge.matrix = names.get(edge.name) if edge.name else None
                if edge.matrix is None:
                    edge.matrix = len(self.matrices)
                    self.matrices.append(edge.weights)
                names[edge.name] = edge.matrix

    def pad(self):
        held = {}
        for v in range(len(self.shapes)):
            for edge in (edge for edge in self.arrivals[v] if edge.source != 0):
                source, shape = edge.source, self.shapes[edge.source]
                for level in range(self.levels[source] - 1, self.levels[v], -1):
                    if (source, level) not in held:
                        self.arrivals.append([Edge(edge.source, shape, [], None, None)])
                        self.shapes.append(shape)
                        self.holds.append(True)
                        held[source, level] = len(self.shapes) - 1
                    edge.source = held[source, level]


def update(net, theta, bias, case, s_in, s_out):
    """One weight update, in place."""
    f, slope = F[case["activation"]]
    lmax, count = net.levels[0], len(net.shapes)
    order = sorted(range(1, count), key=lambda v: -net.levels[v])
    drive = lambda x, v: x[v] if v == 0 or net.holds[v] else f(x[v])
    bend = lambda x, v: 1.0 if net.holds[v] else slope(x[v])
    rate = ALPHA / (len(s_in) if case["mean"] else 1)
    predict = lambda x, v: sum(e.forward(theta, bias, drive(x, e.source)) for e in net.arrivals[v])
    leaving = {v: [(w, e) for w in range(count) for e in net.arrivals[w] if e.source == v] for v in range(count)}
    back = lambda x, v, eps: bend(x, v) * sum(e.back(theta, drive(x, v), eps[w]) for w, e in leaving[v])
    shared = [sum(e.matrix == m for a in net.arrivals for e in a) > 1 for m in range(len(theta))]

    def learn(eps, x, vertices):
        made = [(e.matrix, *e.change(eps[v], drive(x, e.source))) for v in vertices for e in net.arrivals[v] if e.weights]
        return [(m, rate * dtheta, rate * dbias * case["bias"]) for m, dtheta, dbias in made]

    def apply(moves):
        for m, dtheta, dbias in moves:
            theta[m] += dtheta
            bias[m] += dbias

    x = {0: s_in}
    for v in order:
        x[v] = predict(x, v)
    if case["rule"] == "bp":
        delta = {net.output: s_out - x[net.output]}
        for v in [v for v in order[::-1] if v != net.output]:
            delta[v] = back(x, v, delta)
        apply(learn(delta, x, order))
        return
    x[net.output] = s_out
    zil = case["rule"] == "zil"
    last = lmax - 1 if zil else case["steps"]
    late = []
    for t in range(last + 1):
        eps = {v: x[v] - predict(x, v) for v in order}
        moves = learn(eps, x, [v for v in order if t == (net.levels[v] if zil else last)])
        step = {v: back(x, v, eps) - eps[v] for v in order if v != net.output}
        late += [move for move in moves if shared[move[0]]]
        apply(move for move in moves if not shared[move[0]])
        if t < last:
            for v in step:
                x[v] = x[v] + case["gamma"] * step[v]
    apply(late)


def main():
    rng = np.random.default_rng(2022)
    samples, networks = BATCH * UPDATES, []
    integers = lambda arrays: [a.tolist() for a in arrays]
    for n, (layers, shape, vertices) in enumerate(NETWORKS):
        net = Net(shape, vertices)
        classes = net.shapes[net.output][0]
        pixels = rng.integers(0, 256, (samples, *shape))
        labels = rng.integers(0, classes, samples)
        # Multiples of 1/256, which float32 holds exactly.
        theta0 = [rng.integers(-128, 129, weights.weights) for weights in net.matrices]
        bias0 = [rng.integers(-64, 65, weights.shape[0]) for weights in net.matrices]
        cases = []
        for i, rule in enumerate(RULES):
            for j, activation in enumerate(F):
                case = {**rule, "activation": activation, "bias": (i + j + n) % 2 == 0, "mean": (i + n) % 3 == 1}
                theta = [m / 256 for m in theta0]
                bias = [b / 256 * case["bias"] for b in bias0]
                for k in range(UPDATES):
                    rows = slice(k * BATCH, (k + 1) * BATCH)
                    target = np.eye(classes)[labels[rows]][:, :, None, None]
                    update(net, theta, bias, case, pixels[rows] / 255, target)
                parts = [np.append(m.ravel(), b if case["bias"] else []) for m, b in zip(theta, bias)]
                case["after_3"] = [float(f"{v:.14g}") for v in np.concatenate(parts)]
                cases.append(case)
        head = {"layers": layers, "batch": BATCH, "alpha": ALPHA}
        head |= {"pixels": pixels.reshape(samples, -1).tolist(), "labels": labels.tolist()}
        head |= {"theta_256ths": integers(theta0), "bias_256ths": integers(bias0)}
        body = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        networks.append(json.dumps(head, separators=(",", ":"))[:-1] + ',"cases":[\n' + body + "\n]}")
    print("[" + ",\n".join(networks) + "]")


if __name__ == "__main__":
    main()
