#!/usr/bin/env python3
"""zilch's updates of `zilch reproduce pcx` beside pcx's own, in turns:

    PYTHON pcx_run.py --zilch target/release/zilch --data MNIST [--turns 5] [--updates 200]

PYTHON is that of the environment of requirements-pcx.txt. Three methods of Pinchetti et al. (2025) on 784-128-128-128-10 at batch 128, with the
settings of their configuration files: BP-SE, PC-SE, iPC. Both programs run on one thread, pinned to one CPU where that can be set. A turn is
so many updates of each program, one after the other; pcx has compiled before, and the batch it learns from is one and the same. Printed are
the median milliseconds of an update and the median, over turns, of the ratio.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

os.environ.update({"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1", "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"})

COMMON = ("--layers 784,128,128,128,10 --bias --pixels 0.5,0.5 --batch 128 --mean --optimizer adamw --lr-schedule warm-cosine "
          "--device cpu --threads 1 --json")
METHODS = {
    "BP-SE": "--rule bp --activation gelu --lr 0.000275 --weight-decay 0.0051",
    "PC-SE": "--rule il --nodes post --steps 8 --gamma 0.01053 --node-momentum 0.65 --activation gelu --lr 0.000297 --weight-decay 0.00036",
    "iPC": "--rule ipc --nodes post --steps 8 --gamma 0.8495 --node-momentum 0.35 --activation leaky-relu --lr 0.000253 --weight-decay 0.033",
}


def pcx_methods():
    import jax
    import numpy as np
    import optax
    import pcx as px
    import pcx.functional as pxf
    import pcx.nn as pxnn
    import pcx.predictive_coding as pxc
    import pcx.utils as pxu

    dims, batch, steps = [784, 128, 128, 128, 10], 128, 8

    class PCN(pxc.EnergyModule):
        def __init__(self, act):
            super().__init__()
            self.act = px.static(act)
            self.layers = [pxnn.Linear(i, j) for i, j in zip(dims[:-1], dims[1:])]
            self.vodes = [pxc.Vode() for _ in self.layers]
            self.vodes[-1].h.frozen = True

        def __call__(self, x, y):
            for vode, layer in zip(self.vodes[:-1], self.layers[:-1]):
                x = vode(self.act(layer(x)))
            x = self.vodes[-1](self.layers[-1](x))
            if y is not None:
                self.vodes[-1].set("h", y)
            return self.vodes[-1].get("u")

    class MLP(px.Module):
        def __init__(self, act):
            super().__init__()
            self.act = px.static(act)
            self.layers = [pxnn.Linear(i, j) for i, j in zip(dims[:-1], dims[1:])]

        def __call__(self, x):
            for layer in self.layers[:-1]:
                x = self.act(layer(x))
            return self.layers[-1](x)

    values = lambda: pxu.M_hasnot(pxc.VodeParam, frozen=True)
    weights = lambda: pxu.M(pxnn.LayerParam)

    @pxf.vmap(pxu.M(pxc.VodeParam | pxc.VodeParam.Cache).to((None, 0)), in_axes=(0, 0), out_axes=0)
    def forward(x, y, *, model):
        return model(x, y)

    @pxf.vmap(pxu.M(pxc.VodeParam | pxc.VodeParam.Cache).to((None, 0)), in_axes=(0,), out_axes=(None, 0), axis_name="batch")
    def energy(x, *, model):
        out = model(x, None)
        return jax.lax.pmean(model.energy(), "batch"), out

    @pxf.vmap({"model": None}, in_axes=(0, 0), out_axes=(None, 0), axis_name="batch")
    def loss(x, y, *, model):
        out = model(x)
        return jax.lax.pmean(0.5 * ((y - out) ** 2).sum(), "batch"), out

    @pxf.jit()
    def bp(x, y, *, model, ow):
        model.train()
        with pxu.step(model):
            _, g = pxf.value_and_grad(weights().to([False, True]), has_aux=True)(loss)(x, y, model=model)
        ow.step(model, g["model"])

    @pxf.jit()
    def pc(x, y, *, model, ow, oh):
        model.train()
        with pxu.step(model, pxc.STATUS.INIT, clear_params=pxc.VodeParam.Cache):
            forward(x, y, model=model)
        oh.init(values()(model))
        for _ in range(steps):
            with pxu.step(model, clear_params=pxc.VodeParam.Cache):
                _, g = pxf.value_and_grad(values().to([False, True]), has_aux=True)(energy)(x, model=model)
            oh.step(model, g["model"], scale_by=float(batch))
        oh.clear()
        with pxu.step(model, clear_params=pxc.VodeParam.Cache):
            _, g = pxf.value_and_grad(weights().to([False, True]), has_aux=True)(energy)(x, model=model)
        ow.step(model, g["model"])

    @pxf.jit()
    def ipc(x, y, *, model, ow, oh):
        model.train()
        with pxu.step(model, pxc.STATUS.INIT, clear_params=pxc.VodeParam.Cache):
            forward(x, y, model=model)
        oh.init(values()(model))
        both = lambda: pxu.M_hasnot(pxc.VodeParam, frozen=True) | pxu.M(pxnn.LayerParam)
        for _ in range(steps):
            with pxu.step(model, clear_params=pxc.VodeParam.Cache):
                _, g = pxf.value_and_grad(both().to([False, True]), has_aux=True)(energy)(x, model=model)
            oh.step(model, g["model"], scale_by=float(batch))
            ow.step(model, g["model"])
        oh.clear()

    r = np.random.default_rng(0)
    x = jax.numpy.asarray(r.normal(size=(batch, 784)).astype(np.float32))
    y = jax.numpy.asarray(np.eye(10, dtype=np.float32)[r.integers(10, size=batch)])

    def arm(rule, cls, act, lr, decay, node=None):
        px.RKG.seed(0)
        model = cls(act)
        held = {"model": model, "ow": pxu.OptimTree(lambda: optax.adamw(lr, weight_decay=decay), lambda z: isinstance(z, pxnn.Layer), weights()(model))}
        if node:
            held["oh"] = pxu.OptimTree(lambda: optax.sgd(node[0], momentum=node[1]), lambda z: isinstance(z, pxc.Vode))

        def run(updates):
            start = time.perf_counter()
            for _ in range(updates):
                rule(x, y, **held)
            jax.block_until_ready([layer.nn.weight.get() for layer in model.layers])
            return (time.perf_counter() - start) / updates
        return run

    return {
        "BP-SE": arm(bp, MLP, jax.nn.gelu, 2.75e-4, 5.1e-3),
        "PC-SE": arm(pc, PCN, jax.nn.gelu, 2.97e-4, 3.6e-4, (0.01053, 0.65)),
        "iPC": arm(ipc, PCN, jax.nn.leaky_relu, 2.53e-4, 3.3e-2, (0.8495, 0.35)),
    }


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--zilch", required=True)
    a.add_argument("--data", required=True)
    a.add_argument("--turns", type=int, default=5)
    a.add_argument("--updates", type=int, default=200)
    o = a.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    theirs = pcx_methods()
    for run in theirs.values():
        run(3)  # compiles

    def ours(method):
        command = f"{o.zilch} train --data {o.data} {METHODS[method]} {COMMON} --updates {o.updates}".split()
        run = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return run["seconds"] / run["updates"]

    print(f"{'method':<8} {'pcx ms':>8} {'zilch ms':>9} {'pcx ÷ zilch (quartiles)':>28}")
    for method, run in theirs.items():
        turns = [(run(o.updates), ours(method)) for _ in range(o.turns)]
        ratios = sorted(a / b for a, b in turns)
        quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        p, z = (1e3 * statistics.median(t[i] for t in turns) for i in (0, 1))
        print(f"{method:<8} {p:8.2f} {z:9.2f} {quartiles[1]:12.2f} ({quartiles[0]:.2f}–{quartiles[2]:.2f})", flush=True)


if __name__ == "__main__":
    main()
