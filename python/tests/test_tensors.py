"""Arrays of torch and jax, where they are installed, and state dicts of torch, with and without it."""

import sys
import types

import numpy as np
import pytest
from plain import Network
from zilch_pc import errors

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


class Tensor:
    """A tensor of torch, as far as from_torch asks."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.fixture
def stand_in(monkeypatch):
    """torch, or a stand-in that makes tensors of arrays."""
    try:
        import torch
    except ImportError:
        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(from_numpy=Tensor))
        return "stand-in"
    return torch


def convolved(x, weight, bias):
    """The layer of torch.nn.Conv2d, by its definition."""
    out, _, rows, columns = weight.shape
    places = [(r, c) for r in range(x.shape[2] - rows + 1) for c in range(x.shape[3] - columns + 1)]
    values = [np.einsum("bijk,oijk->bo", x[:, :, r : r + rows, c : c + columns], weight) + bias for r, c in places]
    return np.stack(values, 2).reshape(len(x), out, x.shape[2] - rows + 1, -1)


def test_a_state_dict_is_a_chain_of_layers(batch, stand_in, bits):
    x, y = batch
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    for bias in (False, True):
        network = Network(SMALL, bias=bias, device="cpu").fit(x, y, batch=5)
        state = network.to_torch()
        arrays = {name: np.asarray(tensor) for name, tensor in state.items()}
        assert list(state)[:2] == (["0.weight", "0.bias"] if bias else ["0.weight", "2.weight"])
        assert arrays["0.weight"].shape == (9, 12) and arrays["4.weight"].shape == (4, 7)
        values = x
        for k in (0, 2, 4):
            values = (values if k == 0 else sigmoid(values)) @ arrays[f"{k}.weight"].T + arrays.get(f"{k}.bias", 0)
        np.testing.assert_allclose(values, network.predict(x), atol=1e-5)
        assert bits(network, Network.from_torch(state, device="cpu"))
        assert bits(network, Network.from_torch(types.SimpleNamespace(state_dict=lambda state=state: state), device="cpu"))
        named = network.to_torch(["fc1", "fc2", "out"])
        assert {name.split(".")[0] for name in named} == {"fc1", "fc2", "out"}
        assert bits(network, Network.from_torch(named, "bp", device="cpu", lr=0.5))
    for wrong in (["a"], ["a", "a", "b"]):
        with pytest.raises(errors.UsageError, match="names"):
            network.to_torch(wrong)


def test_a_state_dict_of_convolutions(stand_in, bits):
    random = np.random.default_rng(0)
    x = random.random((5, 3, 8, 7), dtype="f4")
    layers = "3x8x7,4c3,5c2,6,2"
    network = Network(layers, bias=True, device="cpu").fit(x, [0, 1, 0, 1, 0], batch=5)
    state = network.to_torch()
    arrays = {name: np.asarray(tensor) for name, tensor in state.items()}
    assert arrays["0.weight"].shape == (4, 3, 3, 3) and arrays["2.weight"].shape == (5, 4, 2, 2)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    values = convolved(x, arrays["0.weight"], arrays["0.bias"])
    values = convolved(sigmoid(values), arrays["2.weight"], arrays["2.bias"]).reshape(5, -1)
    values = sigmoid(values) @ arrays["4.weight"].T + arrays["4.bias"]
    values = sigmoid(values) @ arrays["6.weight"].T + arrays["6.bias"]
    np.testing.assert_allclose(values, network.predict(x), atol=1e-5)
    assert bits(network, Network.from_torch(state, layers=layers, device="cpu"))
    pooled = Network("3x8x7,4c3,a2,6,2", device="cpu")
    assert bits(pooled, Network.from_torch(pooled.to_torch(), layers="3x8x7,4c3,a2,6,2", device="cpu"))
    with pytest.raises(errors.UsageError, match="layers="):
        Network.from_torch(state, device="cpu")
    with pytest.raises(errors.UsageError, match="skips"):
        Network("12,6=a,6+a,4", device="cpu").to_torch()


def test_what_is_no_state_dict_of_a_chain():
    w = np.zeros((4, 3), "f4")
    for wrong in (
        {}, {"a.running_mean": w}, {"a.weight": np.zeros(3)}, {"a.bias": np.zeros(3)}, {"a.weight": w, "a.bias": np.zeros(3)},
        {"a.weight": w, "b.weight": w}, {"a.weight": w, "a.bias": np.zeros(4), "b.weight": np.zeros((2, 4))},
        {"a.weight": w * np.nan}, [w], 3,
    ):
        with pytest.raises(errors.UsageError):
            Network.from_torch(wrong, device="cpu")
    with pytest.raises(errors.UsageError, match="1 layers of weights"):
        Network.from_torch({"a.weight": w}, layers=[3, 4, 2], device="cpu")
    with pytest.raises(errors.UsageError, match="a.weight has shape"):
        Network.from_torch({"a.weight": w}, layers=[3, 5], device="cpu")
    assert Network.from_torch({"weight": w}, device="cpu").layers == [3, 4]


def test_without_torch_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        Network(SMALL, device="cpu").to_torch()
