"""Data from files: CSV, arrays, and images by class."""

import json

import numpy as np
import pytest
import zilch_pc
from zilch_pc import Network, errors, load_data


def table(path, targets=False):
    """200 points on two arcs, with a class in words, or with two real targets."""
    random = np.random.default_rng(3)
    angle = random.uniform(0, np.pi, 200)
    side = np.arange(200) % 2
    x = np.cos(angle) + side
    y = np.sin(angle) * (1 - 2 * side) * 100
    columns = ["x", "y", "sum", "product"] if targets else ["x", "y", "arc"]
    rows = [[a, b, a + b / 100, 7 * a] if targets else [a, b, ["upper", "lower"][s]] for a, b, s in zip(x, y, side)]
    path.write_text("\n".join(",".join(map(str, row)) for row in [columns, *rows]) + "\n")
    return np.stack([x, y], axis=1)


def test_a_table_is_split_and_scaled_by_its_training_part(tmp_path):
    given = table(tmp_path / "arcs.csv")
    loaded = load_data(tmp_path / "arcs.csv")
    (x, y), (x_test, y_test) = loaded
    assert (x.shape, x_test.shape, x.dtype, y.dtype) == ((160, 2), (40, 2), np.float32, np.uint8)
    assert (np.bincount(y) == 80).all() and (np.bincount(y_test) == 20).all(), "each class has the same part"
    assert loaded.about["classes"] == ["lower", "upper"]
    shift, scale = (np.array(loaded.about["inputs"][name]) for name in ("shift", "scale"))
    assert np.abs(x.mean(0)).max() < 1e-6 and np.abs(x.std(0) - 1).max() < 1e-5
    back = np.concatenate([x, x_test]) * scale + shift
    assert np.allclose(sorted(back[:, 1]), sorted(given[:, 1]), atol=1e-3), "every row is in one of the sets"
    (other, _), _ = load_data(tmp_path / "arcs.csv", split_seed=1)
    (same, _), _ = load_data(tmp_path / "arcs.csv", split_seed=0)
    assert not np.array_equal(x, other) and np.array_equal(x, same)
    (plain, _), _ = load_data(tmp_path / "arcs.csv", scaling="none")
    assert np.allclose(plain, x * scale + shift, atol=1e-4)
    network = Network([2, 16, 2], activation="tanh", bias=True, lr=0.05, seed=1).fit(x, y, epochs=40)
    assert network.score(x_test, y_test) > 0.9


def test_real_targets_are_columns(tmp_path):
    table(tmp_path / "arcs.csv", targets=True)
    loaded = load_data(tmp_path / "arcs.csv", target_columns=["sum", 4])
    (x, y), test = loaded
    assert (x.shape[1], y.shape[1], y.dtype) == (2, 2, np.float32)
    assert loaded.about["targets"]["names"] == ["sum", "product"]
    network = Network([2, 16, 2], activation="tanh", bias=True, lr=0.05, seed=1)
    network.fit(x, y, epochs=40, validation=test)
    # Always answering the mean has the loss ½ for each of the two standardised columns.
    assert network.history[-1]["validation_loss"] < 0.1


def test_arrays_of_numpy_come_back(tmp_path):
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    labels = np.array([0, 1, 2, 1, 0])
    np.savez_compressed(tmp_path / "a.npz", x=pixels, y=labels, x_test=pixels[:2], y_test=labels[:2])
    (x, y), (x_test, y_test) = load_data(tmp_path / "a.npz")
    assert np.array_equal(x, pixels.reshape(5, 12)) and np.array_equal(y, labels) and x.dtype == np.uint8
    assert np.array_equal(x_test, pixels[:2].reshape(2, 12)) and len(y_test) == 2
    for order, kind in (("C", ">f8"), ("F", "<f4"), ("F", "i2")):
        (tmp_path / kind[-2:]).mkdir(exist_ok=True)
        numbers = np.asarray(np.arange(24).reshape(6, 4) - 9, dtype=kind, order=order)
        np.save(tmp_path / kind[-2:] / "x.npy", numbers)
        np.save(tmp_path / kind[-2:] / "y.npy", np.linspace(0, 1, 6))
        (x, y), (x_test, y_test) = load_data(tmp_path / kind[-2:], scaling="none", test_part=0.5)
        assert (y.shape, y.dtype) == ((3, 1), np.float32)
        assert sorted(np.concatenate([x, x_test]).ravel()) == sorted(numbers.ravel().astype(float))


def test_what_is_wrong_is_said(tmp_path):
    table(tmp_path / "arcs.csv")
    with pytest.raises(errors.UsageError, match="no column"):
        load_data(tmp_path / "arcs.csv", label="nowhere")
    with pytest.raises(errors.UsageError, match="label is for CSV"):
        zilch_pc.data._load("digits", {"label": "x"})
    with pytest.raises(errors.UsageError, match="list of columns"):
        load_data(tmp_path / "arcs.csv", target_columns="x")
    with pytest.raises(errors.DataError, match=r"\.npz"):
        load_data(tmp_path / "nowhere")
    with pytest.raises(errors.UsageError):
        load_data(tmp_path / "arcs.csv", scaling="wrong")
    np.savez(tmp_path / "a.npz", x=np.full((4, 2), np.nan), y=np.arange(4))
    with pytest.raises(errors.DataError, match="NaN"):
        load_data(tmp_path / "a.npz")
    assert json.dumps(load_data(tmp_path / "arcs.csv").about)
