#!/usr/bin/env python3
"""Time one weight update of one peer on one network.

    peers.py torch|jax|fabricpc|pcx --dims 784,32,32,32,10 --batch 20 [--steps 20]
             [--threads all|1] [--device auto|cpu] [--seconds S | --serve]

With --seconds: time every rule for S seconds and print a JSON line for each.
With --serve:   print a JSON line that names the rules, then answer every line "run RULE SECONDS" of
                standard input with a JSON line, until "quit" or the end. compare.py drives it so.
                "check RULE" answers how far one update lies from the same update in numpy.

Every peer trains the same network on the same data: values are pre-activations, mu = W f(x), sigmoid
hidden layers, linear output, no bias, float32, plain SGD, data resident on the device.

Two clocks, taken in turns. Both make rounds of about 20 ms (0.2 s on a GPU), at least one update each,
and every round starts from the same weights:
  round   wait for the weights at the end of a round only; a round's time over its updates is a figure.
          This is the clock of `zilch compare`, and lets a peer run ahead of its caller.
  update  wait for the weights after every update, and time each alone; a round's median is a figure.
The figures' median and quartiles are printed. The first update (it compiles), two more, and the rounds
that find how many updates fit are not counted.
"""
import argparse
import functools
import json
import math
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import convolutions  # noqa: E402  no library is imported by it

ROUND_SECONDS = {"cpu": 0.02, "gpu": 0.2}
GAMMA = 0.1


def arguments():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("peer", choices=["torch", "jax", "fabricpc", "pcx"])
    a.add_argument("--dims", default="784,32,32,32,10", help="layer sizes, input first, or layers with convolutions as zilch writes them")
    a.add_argument("--relu", action="store_true", help="ReLU in place of the sigmoid: with convolutions")
    a.add_argument("--batch", type=int, default=20)
    a.add_argument("--steps", type=int, default=20, help="t_c of IL")
    a.add_argument("--threads", choices=["all", "1"], default="all")
    a.add_argument("--device", choices=["auto", "cpu"], default="auto")
    a.add_argument("--seconds", type=float, default=3.0)
    a.add_argument("--serve", action="store_true")
    return a.parse_args()


def environment(o):
    """What must be set before a library is imported. Must stand before every import of a peer."""
    if o.threads == "1":
        # Every pool sizes itself by these or by the affinity mask; the mask also makes sure of it.
        for name in ["OMP", "MKL", "OPENBLAS", "NUMEXPR"]:
            os.environ[name + "_NUM_THREADS"] = "1"
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if o.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    else:
        os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "float32"  # no TF32


def convolves(layers):
    return not all(word.isdigit() for word in layers.split(","))


class Arm:
    """One rule: `step` makes an update (it may return before it is done), `ready` waits for the weights,
    `reset` puts the first weights back, `weights` returns them (out x in); one step makes `updates` updates."""

    def __init__(self, step, ready, reset, weights, updates=1):
        self.step, self.ready, self.reset, self.weights, self.updates = step, ready, reset, weights, updates
        self.first_update_s = None
        self.round = 1

    def timed(self, steps):
        """Seconds of so many steps, waited for at the end."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        self.ready()
        return time.perf_counter() - start

    def timed_alone(self, steps):
        """The median of the seconds of so many steps, each waited for."""
        figures = []
        for _ in range(steps):
            start = time.perf_counter()
            self.step()
            self.ready()
            figures.append(time.perf_counter() - start)
        return quartiles(figures)[1]

    def fresh(self):
        self.reset()
        self.ready()

    def compile(self):
        if self.first_update_s is None:
            self.fresh()
            self.first_update_s = self.timed(1)
            self.second_s = min(self.timed(1), self.timed(1))

    def warm(self, target):
        self.compile()
        while self.second_s < target:  # also after a pause: caches and threads are cold then
            self.fresh()
            took = self.timed(self.round)
            if took >= target / 2:
                return
            self.round = int(self.round * min(max(target / took, 1.5), 8.0)) + 1

    def measure(self, seconds, target):
        self.warm(target)
        rounds, alone, spent, cpu, updates = [], [], 0.0, 0.0, 0
        while spent < seconds or not rounds:
            self.fresh()
            before = time.process_time()
            took = self.timed(self.round)
            cpu += time.process_time() - before
            spent += took
            rounds.append(1e6 * took / (self.round * self.updates))
            updates += self.round * self.updates
            if self.updates == 1:  # one update a round: both clocks say the same
                self.fresh()
                alone.append(1e6 * self.timed_alone(self.round) if self.round > 1 else rounds[-1])
        found = dict(updates=updates, cores=round(cpu / spent, 3), first_update_s=round(self.first_update_s, 4))
        for clock, figures in [("round", rounds), ("update", alone)]:
            if figures:
                q1, median, q3 = quartiles(figures)
                found[clock] = dict(median_us=round(median, 3), q1_us=round(q1, 3), q3_us=round(q3, 3))
        return found


def quartiles(values):
    """By linear interpolation between ranks, as zilch has it."""
    values, found = sorted(values), []
    for q in (0.25, 0.5, 0.75):
        rank = q * (len(values) - 1)
        low = int(rank)
        high = min(low + 1, len(values) - 1)
        found.append(values[low] + (values[high] - values[low]) * (rank - low))
    return found


def problem(dims, batch):
    """Input, target and weights (out x in), as numpy arrays."""
    import numpy as np
    r = np.random.RandomState(0)
    x = r.rand(batch, dims[0]).astype(np.float32)
    y = np.eye(dims[-1], dtype=np.float32)[np.arange(batch) % dims[-1]]
    return x, y, [(r.randn(o, i) / i ** 0.5).astype(np.float32) for i, o in zip(dims[:-1], dims[1:])]


@functools.lru_cache(maxsize=1)
def reference(rule, dims, batch, steps, lr, updates, postactivation):
    """The weights after so many updates, in numpy: what the peers must arrive at.

    `postactivation`: values are x with mu = f(W x), not pre-activations with mu = W f(x)."""
    import numpy as np
    x, y, W = problem(dims, batch)
    L, f = len(W), lambda v: 1 / (1 + np.exp(-v))

    def outputs(xs):  # what each layer of weights is fed, and its derivative by the value
        hs = [xs[0]] + [v if postactivation else f(v) for v in xs[1:-1]]
        return hs, [np.ones_like(h) if postactivation else h * (1 - h) for h in hs]

    def predictions(W, hs):  # of each layer, and their derivative by W h
        us = [h @ w.T for w, h in zip(W, hs)]
        if not postactivation:
            return us, [1.0] * L
        mus = [f(u) for u in us[:-1]] + us[-1:]
        return mus, [m * (1 - m) for m in mus[:-1]] + [1.0]

    for _ in range(updates):
        xs = [x]
        for k, w in enumerate(W):
            u = (xs[-1] if postactivation or not k else f(xs[-1])) @ w.T
            xs.append(f(u) if postactivation and k < L - 1 else u)
        if rule == "il":
            xs[-1] = y
            for _ in range(steps):
                hs, dh = outputs(xs)
                mus, du = predictions(W, hs)
                es = [xs[k + 1] - mus[k] for k in range(L)]
                for k in range(1, L):
                    xs[k] = xs[k] + GAMMA * (dh[k] * ((es[k] * du[k]) @ W[k]) - es[k - 1])
            hs, _ = outputs(xs)
            mus, du = predictions(W, hs)
            ds = [(xs[k + 1] - mus[k]) * du[k] for k in range(L)]
        else:
            hs, dh = outputs(xs)
            mus, du = predictions(W, hs)
            ds = [y - xs[-1]]
            for k in range(L - 1, 0, -1):
                ds.insert(0, (ds[0] @ W[k]) * dh[k] * du[k - 1])
        W = [w + lr * d.T @ h for w, d, h in zip(W, ds, hs)]
    return W


def difference(arm, rule, o, dims):
    """Of one step's change of the weights from the reference's: the largest, relative to the layer's
    largest change. The rounding of the weights themselves (two units in the last place an update) is forgiven."""
    import numpy as np
    first = convolutions.problem(o.dims, o.batch)[2] if convolves(o.dims) else problem(dims, o.batch)[2]
    arm.compile()
    arm.fresh()
    arm.step()
    arm.ready()
    rule = "il" if rule == "il" else "bp"  # Z-IL's update is BP's
    if convolves(o.dims):
        wanted = convolutions.reference(o.dims, o.batch, o.lr, o.relu)
    else:
        wanted = reference(rule, tuple(dims), o.batch, o.steps, o.lr, arm.updates, o.peer == "fabricpc")
    rounding = 2.4e-7 * arm.updates
    off = [np.abs(np.asarray(a) - b) - rounding * np.abs(b) for a, b in zip(arm.weights(), wanted)]
    changed = [np.abs(b - w).max() for b, w in zip(wanted, first)]
    return max(float(a.max() / c) for a, c in zip(off, changed))


def torch_arms(o, dims):
    import torch
    import torch.nn as nn
    if o.threads == "1":
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
    cuda = o.device == "auto" and torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = False
    ready = torch.cuda.synchronize if cuda else (lambda: None)
    x, y, first = problem(dims, o.batch)
    x, y = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
    first = [torch.from_numpy(w).to(device) for w in first]
    W = [w.clone() for w in first]
    L, f = len(W), torch.sigmoid
    layers = []
    for k, (a, b) in enumerate(zip(dims[:-1], dims[1:])):
        layers += ([nn.Sigmoid()] if k else []) + [nn.Linear(a, b, bias=False)]
    net = nn.Sequential(*layers).to(device)
    parameters = list(net.parameters())
    sgd = torch.optim.SGD(parameters, lr=o.lr)

    @torch.no_grad()
    def reset():
        for w, p, w0 in zip(W, parameters, first):
            w.copy_(w0)
            p.copy_(w0)

    def bp_autograd():
        sgd.zero_grad(set_to_none=True)
        (0.5 * ((y - net(x)) ** 2).sum()).backward()
        sgd.step()

    def forward():
        xs = [x]
        for k, w in enumerate(W):
            xs.append((f(xs[-1]) if k else xs[-1]) @ w.T)
        return xs

    def errors(xs):
        hs = [xs[0]] + [f(v) for v in xs[1:-1]]
        return hs, [xs[k + 1] - hs[k] @ W[k].T for k in range(L)]

    def relax(xs, hs, es, gamma):
        for k in range(1, L):
            xs[k] = xs[k] + gamma * ((es[k] @ W[k]) * (hs[k] * (1 - hs[k])) - es[k - 1])

    @torch.no_grad()
    def bp():
        xs = forward()
        e = y - xs[-1]
        for k in range(L - 1, -1, -1):
            h = f(xs[k]) if k else xs[k]
            before = (e @ W[k]) * (h * (1 - h)) if k else None
            W[k].addmm_(e.T, h, alpha=o.lr)
            e = before

    @torch.no_grad()
    def il():
        xs = forward()
        xs[-1] = y
        for _ in range(o.steps):
            relax(xs, *errors(xs), GAMMA)
        hs, es = errors(xs)
        for k in range(L):
            W[k].addmm_(es[k].T, hs[k], alpha=o.lr)

    @torch.no_grad()
    def zil():  # every layer stepped at every t; layer l (counted from the output) learns at t = l
        xs = forward()
        xs[-1] = y
        for t in range(L):
            hs, es = errors(xs)
            relax(xs, hs, es, 1.0)
            k = L - 1 - t
            W[k].addmm_(es[k].T, hs[k], alpha=o.lr)

    def arm(step, trained=W):
        return Arm(step, ready, reset, lambda: [w.detach().cpu().numpy() for w in trained])

    arms = {"bp:autograd": arm(bp_autograd, parameters), "bp:by hand": arm(bp), "zil:by hand": arm(zil), "il:by hand": arm(il)}
    return f"torch {torch.__version__}", device, arms


def jax_arms(o, dims):
    import jax
    import jax.numpy as jnp
    x, y, first = problem(dims, o.batch)
    x, y, first = jnp.asarray(x), jnp.asarray(y), [jnp.asarray(w) for w in first]
    f, L = jax.nn.sigmoid, len(first)

    def forward(W, x):
        xs = [x]
        for k, w in enumerate(W):
            xs.append((f(xs[-1]) if k else xs[-1]) @ w.T)
        return xs

    def errors(W, xs):
        hs = [xs[0]] + [f(v) for v in xs[1:-1]]
        return hs, [xs[k + 1] - hs[k] @ W[k].T for k in range(L)]

    def relax(W, xs, gamma):
        hs, es = errors(W, xs)
        inner = [xs[k] + gamma * ((es[k] @ W[k]) * (hs[k] * (1 - hs[k])) - es[k - 1]) for k in range(1, L)]
        return xs[:1] + inner + xs[-1:]

    def bp(W, x, y):
        gradient = jax.grad(lambda W: 0.5 * ((y - forward(W, x)[-1]) ** 2).sum())(W)
        return [w - o.lr * g for w, g in zip(W, gradient)]

    def il(W, x, y):
        xs = forward(W, x)[:-1] + [y]
        xs = jax.lax.fori_loop(0, o.steps, lambda _, xs: relax(W, xs, GAMMA), xs)
        hs, es = errors(W, xs)
        return [w + o.lr * e.T @ h for w, e, h in zip(W, es, hs)]

    def zil(W, x, y):  # every layer stepped at every t; layer l (counted from the output) learns at t = l
        xs, new = forward(W, x)[:-1] + [y], list(W)
        for t in range(L):
            k = L - 1 - t
            hs, es = errors(W, xs)
            new[k] = W[k] + o.lr * es[k].T @ hs[k]
            xs = relax(W, xs, 1.0)
        return new

    def arm(rule, donate=False):
        jitted = jax.jit(rule, donate_argnums=(0,) if donate else ())
        state = {"W": first}
        copies = lambda: [jnp.copy(w) for w in first]

        def step():
            state["W"] = jitted(state["W"], x, y)

        def reset():
            state["W"] = copies() if donate else first
        return Arm(step, lambda: jax.block_until_ready(state["W"]), reset, lambda: state["W"])

    def loop(rule, updates):
        """The training loop itself compiled: many updates, each on a batch of its own, in one call."""
        def many(W):
            return jax.lax.scan(lambda W, b: (rule(W, *b), None), W, (xs, ys))[0]
        xs, ys = jnp.stack([x] * updates), jnp.stack([y] * updates)
        made = arm(lambda W, x, y: many(W), donate=True)
        made.updates = updates
        return made

    arms = {}
    for name, rule in [("bp", bp), ("zil", zil), ("il", il)]:
        arms[name] = arm(rule)
        arms[name + ":donated"] = arm(rule, donate=True)
        if max(dims[1:]) <= 512:  # above, the cost of a call is nothing
            arms[name + ":loop"] = loop(rule, 32 if max(dims[1:]) <= 64 else 8)
    return f"jax {jax.__version__}", jax.default_backend(), arms


def fabricpc_arms(o, dims):
    from importlib.metadata import version
    import jax
    import jax.numpy as jnp
    import optax
    from fabricpc.core.activations import IdentityActivation, SigmoidActivation
    from fabricpc.core.inference import InferenceSGD
    from fabricpc.core.topology import Edge
    from fabricpc.graph_assembly import TaskMap, graph
    from fabricpc.graph_initialization import initialize_params
    from fabricpc.nodes import IdentityNode, Linear
    from fabricpc.training import make_train_step
    x, y, initial = problem(dims, o.batch)
    data = {"x": jnp.asarray(x), "y": jnp.asarray(y)}
    key = jax.random.PRNGKey(1)

    def arm(algorithm):
        nodes = [IdentityNode(shape=(dims[0],), name="in")]
        for k, d in enumerate(dims[1:-1]):
            nodes.append(Linear(shape=(d,), activation=SigmoidActivation(), use_bias=False, name=f"h{k}"))
        nodes.append(Linear(shape=(dims[-1],), activation=IdentityActivation(), use_bias=False, name="out"))
        edges = [Edge(source=a, target=b.slot("in")) for a, b in zip(nodes[:-1], nodes[1:])]
        structure = graph(nodes=nodes, edges=edges, task_map=TaskMap(x=nodes[0], y=nodes[-1]),
                          inference=InferenceSGD(eta_infer=GAMMA, infer_steps=o.steps))
        # fabricpc takes the mean over the batch, the others its sum.
        first, optimizer = initialize_params(structure, jax.random.PRNGKey(0)), optax.sgd(o.lr * o.batch)
        for node, w in zip(nodes[1:], initial):
            (edge,) = first.nodes[node.name].weights
            first.nodes[node.name].weights[edge] = jnp.asarray(w.T)
        train = make_train_step(structure, optimizer, algorithm=algorithm)
        state = {}

        def step():
            state["p"], state["s"], _, _ = train(state["p"], state["s"], data, key)

        def reset():
            state["p"], state["s"] = first, optimizer.init(first)

        def weights():
            return [next(iter(state["p"].nodes[n.name].weights.values())).T for n in nodes[1:]]
        return Arm(step, lambda: jax.block_until_ready(state["p"]), reset, weights)

    name = f"fabricpc {version('fabricpc')} (jax {jax.__version__})"
    return name, jax.default_backend(), {"bp": arm("backprop"), "il": arm("pc")}


def pcx_arms(o, dims):
    from importlib.metadata import version
    import jax
    import jax.numpy as jnp
    import optax
    import pcx as px
    import pcx.functional as pxf
    import pcx.nn as pxnn
    import pcx.predictive_coding as pxc
    import pcx.utils as pxu
    act = jax.nn.sigmoid
    # A pcx model is changed in place, so every model is its own, and so are its optimizers.

    class PCN(pxc.EnergyModule):
        def __init__(self):
            super().__init__()
            self.layers = [pxnn.Linear(i, j, bias=False) for i, j in zip(dims[:-1], dims[1:])]
            self.vodes = [pxc.Vode() for _ in self.layers]
            self.vodes[-1].h.frozen = True

        def __call__(self, x, y):
            for k, (vode, layer) in enumerate(zip(self.vodes[:-1], self.layers[:-1])):
                x = vode(layer(act(x) if k else x))
            x = self.vodes[-1](self.layers[-1](act(x)))
            if y is not None:
                self.vodes[-1].set("h", y)
            return self.vodes[-1].get("u")

    class MLP(px.Module):
        def __init__(self):
            super().__init__()
            self.layers = [pxnn.Linear(i, j, bias=False) for i, j in zip(dims[:-1], dims[1:])]

        def __call__(self, x):
            for k, layer in enumerate(self.layers):
                x = layer(act(x) if k else x)
            return x

    # Made anew for each use: M.to changes the mask that it is called on.
    values = lambda: pxu.M_hasnot(pxc.VodeParam, frozen=True)
    weights = lambda: pxu.M(pxnn.LayerParam)

    @pxf.vmap(pxu.M(pxc.VodeParam | pxc.VodeParam.Cache).to((None, 0)), in_axes=(0, 0), out_axes=0)
    def forward(x, y, *, model):
        return model(x, y)

    @pxf.vmap(pxu.M(pxc.VodeParam | pxc.VodeParam.Cache).to((None, 0)), in_axes=(0,), out_axes=(None, 0), axis_name="batch")
    def energy(x, *, model):
        out = model(x, None)
        return jax.lax.psum(model.energy(), "batch"), out

    @pxf.vmap({"model": None}, in_axes=(0, 0), out_axes=(None, 0), axis_name="batch")
    def loss(x, y, *, model):
        out = model(x)
        return jax.lax.psum(0.5 * ((y - out) ** 2).sum(), "batch"), out

    @pxf.jit()
    def bp(x, y, *, model, ow):
        model.train()
        with pxu.step(model):
            _, g = pxf.value_and_grad(weights().to([False, True]), has_aux=True)(loss)(x, y, model=model)
        ow.step(model, g["model"])

    @pxf.jit()
    def il(x, y, *, model, ow, oh):
        model.train()
        with pxu.step(model, pxc.STATUS.INIT, clear_params=pxc.VodeParam.Cache):
            forward(x, y, model=model)
        oh.init(values()(model))
        for _ in range(o.steps):
            with pxu.step(model, clear_params=pxc.VodeParam.Cache):
                _, g = pxf.value_and_grad(values().to([False, True]), has_aux=True)(energy)(x, model=model)
            oh.step(model, g["model"])
        oh.clear()
        with pxu.step(model, clear_params=pxc.VodeParam.Cache):
            _, g = pxf.value_and_grad(weights().to([False, True]), has_aux=True)(energy)(x, model=model)
        ow.step(model, g["model"])

    @pxf.jit()
    def zil(x, y, *, model, ow, oh):  # only the live layer, as pcx's own example does
        model.train()
        with pxu.step(model, pxc.STATUS.INIT, clear_params=pxc.VodeParam.Cache):
            forward(x, y, model=model)
        oh.init(values()(model))
        L = len(model.vodes)
        for t in range(L):
            k = L - 1 - t
            with pxu.step(model, clear_params=pxc.VodeParam.Cache):
                m = pxu.M(None).to([False, False])(model, is_pytree=True)
                if k > 0:
                    m.vodes[k - 1].h = True
                m.layers[k] = weights().to([False, True])(model.layers[k], is_pytree=True)
                _, g = pxf.value_and_grad({"model": m}, has_aux=True)(energy)(x, model=model)
            oh.step(model, g["model"])
            ow.step(model, g["model"])
        oh.clear()

    x, y, first = problem(dims, o.batch)
    x, y, first = jnp.asarray(x), jnp.asarray(y), [jnp.asarray(w) for w in first]

    def arm(rule, cls, gamma=None):
        px.RKG.seed(0)
        model = cls()
        held = {"model": model}
        held["ow"] = pxu.OptimTree(lambda: optax.sgd(o.lr), lambda z: isinstance(z, pxnn.Layer), weights()(model))
        if gamma is not None:
            held["oh"] = pxu.OptimTree(lambda: optax.sgd(gamma), lambda z: isinstance(z, pxc.Vode))

        def reset():
            for layer, w in zip(model.layers, first):
                layer.nn.weight.set(w)
        trained = lambda: [layer.nn.weight.get() for layer in model.layers]
        return Arm(lambda: rule(x, y, **held), lambda: jax.block_until_ready(trained()), reset, trained)

    name = f"pcx {version('pcx')} (jax {jax.__version__})"
    arms = {"bp": arm(bp, MLP), "zil": arm(zil, PCN, 1.0), "il": arm(il, PCN, GAMMA)}
    return name, jax.default_backend(), arms


def main():
    o = arguments()
    environment(o)
    if convolves(o.dims):
        if o.peer not in ("torch", "jax"):
            sys.exit(f"error: {o.peer} is timed on layers of plain sizes alone")
        dims = [math.prod(shape[1:]) for shape in convolutions.plan(o.dims)[1]]
    else:
        dims = [int(d) for d in o.dims.split(",")]
    # Small enough that a round of the same batch does not diverge or saturate: subnormal numbers are slow.
    o.lr = 0.5 / (o.batch * max(dims[1:]))
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # a library that prints must not get in between
    os.dup2(2, 1)
    made = getattr(convolutions, o.peer + "_arms")(o, Arm) if convolves(o.dims) else globals()[o.peer + "_arms"](o, dims)
    name, backend, arms = made
    device = "cpu" if backend == "cpu" else "gpu"

    def run(rule, seconds):
        figures = arms[rule].measure(seconds, ROUND_SECONDS[device])
        print(json.dumps(dict(peer=name, device=device, rule=rule, **figures)), file=answers)

    def check(rule):
        found = max(difference(arms[rule], rule.partition(":")[0], o, dims), 0.0)
        print(json.dumps(dict(peer=name, rule=rule, difference=found)), file=answers)

    if not o.serve:
        for rule in arms:
            check(rule)
            run(rule, o.seconds)
        return
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    print(json.dumps(dict(peer=name, device=device, rules=list(arms), cpus=cpus)), file=answers)
    for line in sys.stdin:
        if line.strip() == "quit":
            return
        command, _, rest = line.strip().partition(" ")
        rule, _, seconds = rest.rpartition(" ") if command == "run" else (rest, "", "")
        if command == "run" and rule in arms:
            run(rule, float(seconds))
        elif command == "check" and rule in arms:
            check(rule)
        else:
            print(json.dumps(dict(error=f"unknown command: {line.strip()}")), file=answers)


if __name__ == "__main__":
    main()
