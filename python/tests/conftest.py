import numpy as np
import pytest
import zilch_pc


@pytest.fixture(scope="session")
def digits():
    (x, y), (x_test, y_test) = zilch_pc.digits()
    return x[:600], y[:600], x_test[:200], y_test[:200]


@pytest.fixture(scope="session")
def devices():
    """The CPU, and a GPU where there is one, a software one included."""
    return ["cpu"] + (["gpu"] if zilch_pc.devices() else [])


def same_bits(a, b):
    """Whether two networks have the same bits in every weight."""
    a, b = a.weights, b.weights
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


@pytest.fixture
def bits():
    return same_bits


@pytest.fixture
def batch():
    random = np.random.default_rng(5)
    return random.random((20, 12), dtype=np.float32), random.integers(0, 4, 20)
