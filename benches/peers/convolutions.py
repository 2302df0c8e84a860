"""BP of networks with convolutions, as torch and jax have it, for peers.py; and the same update in numpy.

Layers are zilch's notation, a chain of it: `3x32x32,128c3p1,m2,10`. Values are pre-activations, mu = W f(x), where weights begin at
pooled f(x); the input is sent as it is; no bias, linear output, float32, plain SGD.
"""
import re


def words(layers):
    """The input's [channels, height, width], and of each layer ("c", channels, kernel, stride, padding), ("m" | "a", size) or ("d", units)."""
    first, *rest = layers.split(",")
    shape = [int(side) for side in first.split("x")]
    shape = [1] * (3 - len(shape)) + shape
    found = []
    for word in rest:
        conv = re.fullmatch(r"(\d+)c(\d+)(?:s(\d+))?(?:p(\d+))?", word)
        pool = re.fullmatch(r"([ma])(\d+)", word)
        if conv:
            channels, kernel, stride, padding = conv.groups()
            found.append(("c", int(channels), int(kernel), int(stride or 1), int(padding or 0)))
        elif pool:
            found.append((pool[1], int(pool[2])))
        else:
            found.append(("d", int(word)))
    return shape, found


def plan(layers):
    """What every implementation goes through: [(operation, what it needs)], and the shapes of the weights.

    "f" is the activation, "flat" makes a row of channels, rows and columns, in this order."""
    (c, h, w), found = words(layers)
    ops, shapes, flat, sent = [], [], False, True  # sent: f has been taken, or it is the input
    for word in found:
        if not sent:
            ops.append(("f",))
            sent = True
        if word[0] == "c":
            _, n, k, s, p = word
            ops.append(word)
            shapes.append((n, c, k, k))
            c, h, w, sent = n, (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1, False
        elif word[0] in "ma":
            ops.append(word)
            h, w = h // word[1], w // word[1]
        else:
            if not flat:
                ops.append(("flat",))
                flat, c = True, c * h * w
            ops.append(word)
            shapes.append((word[1], c))
            c, sent = word[1], False
    return ops, shapes


def problem(layers, batch):
    """Images [batch, channels, height, width], targets, and weights [out, in] or [out, in, kernel, kernel], as numpy arrays."""
    import numpy as np
    r = np.random.RandomState(0)
    shape, _ = words(layers)
    _, shapes = plan(layers)
    x = r.rand(batch, *shape).astype(np.float32)
    y = np.eye(shapes[-1][0], dtype=np.float32)[np.arange(batch) % shapes[-1][0]]
    return x, y, [(r.randn(*s) / np.prod(s[1:]) ** 0.5).astype(np.float32) for s in shapes]


def reference(layers, batch, lr, relu):
    """The weights after an update, in numpy, by patches and matrix products."""
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view
    x, y, W = problem(layers, batch)
    ops, _ = plan(layers)
    f = (lambda v: np.maximum(v, 0)) if relu else (lambda v: 1 / (1 + np.exp(-v)))
    slope = (lambda v: (v > 0).astype(v.dtype)) if relu else (lambda v: f(v) * (1 - f(v)))
    kept, v, k = [], x, 0
    for op in ops:
        kept.append((op, v, k))
        if op[0] == "f":
            v = f(v)
        elif op[0] == "flat":
            v = v.reshape(batch, -1)
        elif op[0] == "c":
            _, n, size, s, p = op
            framed = np.pad(v, ((0, 0), (0, 0), (p, p), (p, p)))
            patches = sliding_window_view(framed, (size, size), (2, 3))[:, :, ::s, ::s]
            v, k = np.einsum("bchwij,ncij->bnhw", patches, W[k], optimize=True), k + 1
        elif op[0] == "d":
            v, k = v @ W[k].T, k + 1
        else:
            b, c, h, w = v.shape
            size = op[1]
            tiles = v[:, :, :h // size * size, :w // size * size].reshape(b, c, h // size, size, w // size, size)
            v = tiles.mean((3, 5)) if op[0] == "a" else tiles.max((3, 5))
    e, new = y - v, list(W)
    for op, v, k in reversed(kept):
        if op[0] == "f":
            e = e * slope(v)
        elif op[0] == "flat":
            e = e.reshape(v.shape)
        elif op[0] == "d":
            new[k], e = W[k] + lr * e.T @ v, e @ W[k]
        elif op[0] == "c":
            _, n, size, s, p = op
            framed = np.pad(v, ((0, 0), (0, 0), (p, p), (p, p)))
            patches = sliding_window_view(framed, (size, size), (2, 3))[:, :, ::s, ::s]
            new[k] = W[k] + lr * np.einsum("bnhw,bchwij->ncij", e, patches, optimize=True)
            if k:
                back, (h, w) = np.zeros_like(framed), e.shape[2:]
                for i in range(size):
                    for j in range(size):
                        part = np.einsum("bnhw,nc->bchw", e, W[k][:, :, i, j], optimize=True)
                        back[:, :, i:i + s * h:s, j:j + s * w:s] += part
                e = back[:, :, p:back.shape[2] - p, p:back.shape[3] - p]
        else:
            size, (h, w) = op[1], e.shape[2:]
            up = e.repeat(size, 2).repeat(size, 3)
            if op[0] == "a":
                share = up / size ** 2
            else:
                tiles = v[:, :, :h * size, :w * size]
                share = up * (tiles == tiles.reshape(*v.shape[:2], h, size, w, size).max((3, 5)).repeat(size, 2).repeat(size, 3))
            e = np.zeros_like(v)
            e[:, :, :h * size, :w * size] = share
    return new


def torch_arms(o, Arm):
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    if o.threads == "1":
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
    cuda = o.device == "auto" and torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    ready = torch.cuda.synchronize if cuda else (lambda: None)
    ops, _ = plan(o.dims)
    f = torch.relu if o.relu else torch.sigmoid

    def arm(layout):
        x, y, first = problem(o.dims, o.batch)
        put = lambda a: torch.from_numpy(a).to(device)
        spread = lambda a: a.to(memory_format=layout) if a.dim() == 4 else a
        x, y, first = spread(put(x)), put(y), [spread(put(w)) for w in first]
        W = [nn.Parameter(w.clone(memory_format=torch.preserve_format)) for w in first]
        sgd = torch.optim.SGD(W, lr=o.lr)

        def forward(v):
            k = 0
            for op in ops:
                if op[0] == "c":
                    v, k = F.conv2d(v, W[k], stride=op[3], padding=op[4]), k + 1
                elif op[0] == "d":
                    v, k = F.linear(v, W[k]), k + 1
                elif op[0] == "m":
                    v = F.max_pool2d(v, op[1])
                elif op[0] == "a":
                    v = F.avg_pool2d(v, op[1])
                else:
                    v = f(v) if op[0] == "f" else torch.flatten(v, 1)
            return v

        def step():
            sgd.zero_grad(set_to_none=True)
            (0.5 * ((y - forward(x)) ** 2).sum()).backward()
            sgd.step()

        @torch.no_grad()
        def reset():
            for w, w0 in zip(W, first):
                w.copy_(w0)
        return Arm(step, ready, reset, lambda: [w.detach().cpu().numpy() for w in W])

    arms = {"bp:autograd": arm(torch.contiguous_format), "bp:channels last": arm(torch.channels_last)}
    return f"torch {torch.__version__}", device, arms


def jax_arms(o, Arm):
    import jax
    import jax.numpy as jnp
    import numpy as np
    ops, _ = plan(o.dims)
    f = jax.nn.relu if o.relu else jax.nn.sigmoid

    def forward(W, v, last):
        """`last`: channels are the last dimension, and weights [kernel, kernel, in, out]."""
        k, numbers = 0, ("NHWC", "HWIO", "NHWC") if last else ("NCHW", "OIHW", "NCHW")
        for op in ops:
            if op[0] == "c":
                padding = [(op[4], op[4])] * 2
                v, k = jax.lax.conv_general_dilated(v, W[k], (op[3],) * 2, padding, dimension_numbers=numbers), k + 1
            elif op[0] == "d":
                v, k = v @ W[k].T, k + 1
            elif op[0] in "ma":
                window = (1, op[1], op[1], 1) if last else (1, 1, op[1], op[1])
                start, how = (-jnp.inf, jax.lax.max) if op[0] == "m" else (0.0, jax.lax.add)
                v = jax.lax.reduce_window(v, start, how, window, window, "VALID")
                v = v / op[1] ** 2 if op[0] == "a" else v
            elif op[0] == "f":
                v = f(v)
            else:
                v = (v.transpose(0, 3, 1, 2) if last else v).reshape(v.shape[0], -1)
        return v

    def arm(last, donate):
        def bp(W, x, y):
            gradient = jax.grad(lambda W: 0.5 * ((y - forward(W, x, last)) ** 2).sum())(W)
            return [w - o.lr * g for w, g in zip(W, gradient)]
        x, y, first = problem(o.dims, o.batch)
        turn = lambda a, axes: a.transpose(axes) if last and a.ndim == 4 else a
        x, y, first = jnp.asarray(turn(x, (0, 2, 3, 1))), jnp.asarray(y), [jnp.asarray(turn(w, (2, 3, 1, 0))) for w in first]
        jitted, state = jax.jit(bp, donate_argnums=(0,) if donate else ()), {"W": first}

        def step():
            state["W"] = jitted(state["W"], x, y)

        def reset():
            state["W"] = [jnp.copy(w) for w in first]
        weights = lambda: [turn(np.asarray(w), (3, 2, 0, 1)) for w in state["W"]]
        return Arm(step, lambda: jax.block_until_ready(state["W"]), reset, weights)

    arms = {"bp": arm(True, False), "bp:donated": arm(True, True), "bp:channels first": arm(False, True)}
    return f"jax {jax.__version__}", jax.default_backend(), arms
