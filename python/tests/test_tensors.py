"""Arrays of torch and jax, where they are installed."""

import numpy as np
import pytest
from zilch_pc import Network, errors

SMALL = [12, 9, 7, 4]


def trained(x, y):
    network = Network(SMALL, device="cpu").fit(x, y, epochs=2, batch=5)
    network.step(x, y)
    return network


def same(x, y, tensor, labels, bits):
    """Whether tensors are the numbers of these arrays in all that takes arrays."""
    wanted, found = trained(x, y), trained(tensor, labels)
    assert bits(wanted, found)
    assert (wanted.predict(x) == found.predict(tensor)).all()
    assert wanted.score(x, y) == found.score(tensor, labels)


def test_torch(batch, bits):
    torch = pytest.importorskip("torch")
    x, y = batch
    # What float16 and bfloat16 hold exactly.
    x = np.round(x * 128) / np.float32(128)
    labels, tensor = torch.from_numpy(y), torch.from_numpy(x)
    same(x, y, tensor, labels, bits)
    same(x, y, tensor.t().contiguous().t(), labels.to(torch.uint8), bits)
    same(x, y, tensor.clone().requires_grad_() * 1, labels.to(torch.int32), bits)
    same(x, y, tensor.flip(0).flip(0)[:, :], labels[:, None], bits)
    same(x, y, torch.stack([tensor, tensor], 2)[:, :, 0], labels, bits)
    same(x, y, torch.complex(tensor, -tensor).conj().real, labels, bits)
    same(x, y, torch.complex(tensor, -tensor).conj().imag, labels, bits)
    for kind in (torch.float64, torch.float16, torch.bfloat16):
        same(x, y, tensor.to(kind), torch.eye(4)[labels].to(kind), bits)
    pixels = (tensor * 255).to(torch.uint8)
    same(pixels.numpy(), y, pixels, labels, bits)
    same(pixels.numpy().astype(np.int64), y, pixels.to(torch.int64), labels, bits)
    same(x > 0.5, y, tensor > 0.5, labels, bits)
    same(x, y, tensor.reshape(20, 3, 4), labels, bits)
    same(x, y, torch.nn.Parameter(tensor), labels, bits)
    network = Network(SMALL, device="cpu")
    network.weights = {name: torch.from_numpy(found).t().contiguous().t() for name, found in trained(x, y).weights.items()}
    assert bits(network, trained(x, y))
    for wrong in (tensor.to("meta"), tensor.to_sparse(), tensor.to(torch.complex64), tensor * float("nan")):
        with pytest.raises(errors.UsageError):
            network.fit(wrong, labels)


def test_jax(batch, bits):
    jax = pytest.importorskip("jax")
    x, y = batch
    x = np.round(x * 128) / np.float32(128)
    tensor, labels = jax.numpy.asarray(x), jax.numpy.asarray(y)
    same(x, y, tensor, labels, bits)
    same(x, y, jax.numpy.asarray(x.T.copy()).T, labels.astype("uint8"), bits)
    same(x, y, jax.numpy.stack([tensor, tensor], 2)[:, :, 0], labels[:, None], bits)
    for kind in ("float16", "bfloat16"):
        same(x, y, tensor.astype(kind), jax.numpy.eye(4, dtype=kind)[labels], bits)
    pixels = (tensor * 255).astype("uint8")
    same(np.asarray(pixels), y, pixels, labels, bits)
    same(x > 0.5, y, tensor > 0.5, labels, bits)
    for wrong in (tensor.astype("complex64"), tensor * float("nan"), jax.random.key(0)):
        with pytest.raises(errors.UsageError):
            Network(SMALL, device="cpu").fit(wrong, labels)

    @jax.jit
    def inside(x):
        return Network(SMALL, device="cpu").predict(x)

    # A tracer holds no numbers.
    with pytest.raises(errors.UsageError, match="jit"):
        inside(tensor)
