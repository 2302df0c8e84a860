"""One `step` from Python at S (784-32-32-32-10, batch 20), beside torch and jax by hand where they are installed.

    python python/benches/step.py [--rounds 7]

Each row is an update of the same network from numpy arrays that are at hand; microseconds, the median over rounds and its quartiles.
"""

import argparse
import time

import numpy as np
import zilch_pc

LAYERS, BATCH, LR = [784, 32, 32, 32, 10], 20, 0.01


def by_zilch(rule, x, y, **how):
    network = zilch_pc.Network(LAYERS, rule, lr=LR, device="cpu")
    return lambda: network.step(x, y, **how)


def by_torch(x, y, compiled=False):
    import torch

    torch.set_num_threads(2)
    theta = [torch.randn(m, n).mul_(n**-0.5).requires_grad_() for n, m in zip(LAYERS, LAYERS[1:])]
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def update():
        h = x
        for i, w in enumerate(theta):
            h = (torch.sigmoid(h) if i else h) @ w.T
        (0.5 * ((y - h) ** 2).sum()).backward()
        with torch.no_grad():
            for w in theta:
                w -= LR * w.grad
                w.grad = None

    return update


def by_jax(x, y):
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.PRNGKey(0), len(LAYERS))
    state = [[jax.random.normal(k, (m, n)) * n**-0.5 for k, n, m in zip(keys, LAYERS, LAYERS[1:])]]

    def loss(theta, x, y):
        h = x
        for i, w in enumerate(theta):
            h = (jax.nn.sigmoid(h) if i else h) @ w.T
        return 0.5 * jnp.sum((y - h) ** 2)

    step = jax.jit(lambda theta, x, y: [w - LR * g for w, g in zip(theta, jax.grad(loss)(theta, x, y))])

    def update():
        state[0] = step(state[0], x, y)
        state[0][0].block_until_ready()

    return update


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    rounds = arguments.parse_args().rounds
    random = np.random.default_rng(0)
    x = random.random((BATCH, LAYERS[0]), dtype=np.float32)
    y = np.eye(LAYERS[-1], dtype=np.float32)[random.integers(0, 10, BATCH)]
    arms = {"bp, nothing read": by_zilch("bp", x, y, read=False), "zil, nothing read": by_zilch("zil", x, y, read=False),
            "zil, all slots and weights": by_zilch("zil", x, y)}
    for name, make in (("torch", by_torch), ("jax, jitted", by_jax)):
        try:
            arms[name] = make(x, y)
        except ImportError:
            print(f"{name}: not installed")
    times = {name: [] for name in arms}
    for update in arms.values():
        [update() for _ in range(100)]
    for _ in range(rounds):
        for name, update in arms.items():
            start = time.perf_counter()
            for _ in range(300):
                update()
            times[name].append((time.perf_counter() - start) / 300 * 1e6)
    for name, found in times.items():
        low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
        print(f"{name:28} {middle:7.1f} µs ({low:.1f}–{high:.1f})")


if __name__ == "__main__":
    main()
