"""Networks: exactness, arrays of every kind, and what is refused."""

import copy
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import zilch_pc
from plain import Network
from zilch_pc import Activity, Step, ZilchClassifier, errors
from zilch_pc.errors import ChanceWarning

LAYERS = [784, 32, 32, 10]
SMALL = [12, 9, 7, 4]


def test_predictive_coding_is_backpropagation_to_the_bit(digits, devices, bits):
    x, y, *_ = digits
    for device in devices:
        trained = {rule: Network(LAYERS, rule, device=device, seed=3).fit(x, y, epochs=2) for rule in ("zil", "fazil", "bp", "il")}
        assert bits(trained["zil"], trained["bp"]) and bits(trained["fazil"], trained["bp"])
        assert not bits(trained["il"], trained["bp"])
        assert trained["zil"].sha256 == trained["bp"].sha256
        assert trained["bp"].updates == 60


def test_numbers_and_pixels_are_the_same_way(digits, devices, bits):
    x, y, *_ = digits
    for device in devices:
        pixels = Network(LAYERS, device=device).fit(x, y, epochs=2)
        numbers = Network(LAYERS, device=device).fit((x / 255).astype(np.float32), y, epochs=2)
        assert bits(pixels, numbers)
        same = pixels.predict(x[:50]) == numbers.predict((x[:50] / 255).astype(np.float32))
        assert same.all()
        for row, other in zip(pixels.history, numbers.history):
            assert row["train_error"] == other["train_error"]
            assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)


def test_two_fits_are_one(digits, devices, bits):
    x, y, *_ = digits
    for device in devices:
        # Every network on a GPU has its shaders made.
        for options in ({}, {"rule": "kp"}, {"optimizer": "adam", "lr": 1e-3})[0 if device == "cpu" else 2 :]:
            once = Network(LAYERS, device=device, **options).fit(x, y, epochs=3)
            twice = Network(LAYERS, device=device, **options).fit(x, y, epochs=1).fit(x, y, epochs=2)
            assert bits(once, twice), (device, options)
            thawed = pickle.loads(pickle.dumps(Network(LAYERS, device=device, **options).fit(x, y, epochs=1)))
            assert bits(once, thawed.fit(x, y, epochs=2)), (device, options)
            assert len(thawed.history) == 3 and thawed.updates == once.updates


def test_it_learns_and_says_how_well(digits):
    x, y, x_test, y_test = digits
    rows = []
    network = Network(LAYERS, lr=0.003, optimizer="adam", bias=True)
    network.fit(x, y, epochs=20, validation=(x_test, y_test), callback=lambda n, row: rows.append((n.score(x_test, y_test), row)))
    score, row = rows[-1]
    assert score == pytest.approx(1 - row["validation_error"]) and score > 0.5
    assert score == network.score(x_test, y_test) == (network.predict(x_test).argmax(1) == y_test).mean()
    assert row["train_loss"] < rows[0][1]["train_loss"] / 2
    assert network.predict(x_test).shape == (200, 10) and network.predict(x_test).dtype == np.float32
    stopped = Network(LAYERS).fit(x, y, epochs=9, callback=lambda n, row: row["epoch"] == 2)
    assert len(stopped.history) == 2


def test_weights_set_in_a_callback_are_learned_from(digits, bits):
    x, y, *_ = digits
    start = Network(LAYERS, seed=8).weights

    def again(network, row):
        if row["epoch"] == 1:
            network.weights = start

    reset = Network(LAYERS, seed=1).fit(x, y, epochs=2, callback=again, shuffle=False)
    assert bits(reset, Network(LAYERS, seed=8).fit(x, y, epochs=1, shuffle=False))


def layouts(x):
    padded = np.zeros((x.shape[0] * 2, x.shape[1] + 3), x.dtype)
    padded[::2, 1:-2] = x
    return {
        "plain": x,
        "Fortran": np.asfortranarray(x),
        "strided": padded[::2, 1:-2],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "big endian": x.astype(x.dtype.newbyteorder(">")),
        "float64": x.astype(np.float64),
        "float16 back": x.astype(np.float32),
        "read only": _read_only(x),
        "images": x.reshape(len(x), 3, 4),
        "list": x.tolist(),
        "objects": x.astype(object),
    }


def _read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


class Foreign:
    """An array of another library, as torch and jax have them."""

    def __init__(self, array, how):
        self._array = array
        if how == "dlpack":
            self.__class__ = type("Dlpack", (Foreign,), {
                "__dlpack__": lambda self, **how: self._array.__dlpack__(**how),
                "__dlpack_device__": lambda self: self._array.__dlpack_device__(),
            })
        else:
            self.__class__ = type("Array", (Foreign,), {"__array__": lambda self, dtype=None, copy=None: self._array})


def test_every_layout_is_the_same_numbers(batch, bits):
    x, y = batch
    wanted = Network(SMALL, device="cpu").fit(x, y, epochs=3, batch=5)
    given = layouts(x)
    given["dlpack"], given["array"] = Foreign(x, "dlpack"), Foreign(x, "array")
    for name, other in given.items():
        assert bits(wanted, Network(SMALL, device="cpu").fit(other, y, epochs=3, batch=5)), name
    for kind in ("i1", "u1", "i8", ">i4", "f4", "f8"):
        assert bits(wanted, Network(SMALL, device="cpu").fit(x, y.astype(kind), epochs=3, batch=5)), kind
    assert bits(wanted, Network(SMALL, device="cpu").fit(x, y[:, None], epochs=3, batch=5))
    assert bits(wanted, Network(SMALL, device="cpu").fit(x, np.eye(4)[y], epochs=3, batch=5))


BAD_X = {
    "one sample": (np.zeros(12), "Expected 2D array"),
    "a number": (3.0, "Expected 2D array"),
    "width": (np.zeros((20, 11)), "12 inputs"),
    "none": (np.zeros((0, 12)), "0 samples"),
    "NaN": (np.full((20, 12), np.nan), "NaN"),
    "infinity": (np.full((20, 12), -np.inf), "infinity"),
    "beyond float32": (np.full((20, 12), 1e300), "float32"),
    "complex": (np.zeros((20, 12), complex), "complex"),
    "text": (np.full((20, 12), "a"), "expected uint8"),
    "dates": (np.zeros((20, 12), "M8[s]"), "expected uint8"),
    "records": (np.zeros((20, 12), [("a", "f4")]), "expected uint8"),
    "objects": (np.full((20, 12), len), "not numbers"),
    "nothing": (np.full((20, 12), None), "NaN"),
    "masked": (np.ma.masked_array(np.zeros((20, 12)), np.eye(20, 12)), "masked"),
    "ragged": ([[1, 2], [3]], "x"),
    "None": (None, "x"),
    "a function": (len, "x"),
}
BAD_Y = {
    "length": (np.zeros(19, int), "20 samples"),
    "too large": (np.full(20, 4), "label 4"),
    "negative": (np.full(20, -1), "label -1"),
    "halves": (np.full(20, 0.5), "whole numbers"),
    "NaN": (np.full(20, np.nan), "NaN"),
    "targets of NaN": (np.full((20, 4), np.nan), "NaN"),
    "targets of another width": (np.zeros((20, 3)), "expected labels"),
    "targets of another length": (np.zeros((21, 4)), "20 samples"),
    "three axes": (np.zeros((20, 4, 1)), "expected labels"),
    "text": (np.full(20, "a"), "expected labels"),
    "None": (None, "y"),
}


@pytest.mark.parametrize("name", BAD_X)
def test_bad_inputs_are_refused(name):
    x, words = BAD_X[name]
    network = Network(SMALL, device="cpu")
    before = network.sha256
    for act in (lambda: network.fit(x, np.zeros(20, int), batch=5), lambda: network.step(x, np.zeros(20, int))):
        with pytest.raises(errors.ZilchError, match=words):
            act()
    if name != "none":
        with pytest.raises(errors.UsageError):
            network.predict(x)
    assert network.sha256 == before


@pytest.mark.parametrize("name", BAD_Y)
def test_bad_targets_are_refused(name, batch):
    y, words = BAD_Y[name]
    network = Network(SMALL, device="cpu")
    for act in (network.fit, network.step, network.score):
        with pytest.raises(errors.ZilchError, match=words):
            act(batch[0], y)


BAD_OPTIONS = [
    (([12],), {}),
    (([12, 0, 4],), {}),
    (([12, -1, 4],), {}),
    (([12, 2.5, 4],), {}),
    (([12, 1 << 60, 4],), {}),
    (([],), {}),
    ((7,), {}),
    ((SMALL, "nothing"), {}),
    ((SMALL, 7), {}),
    ((SMALL,), {"device": "no such adapter"}),
    ((SMALL,), {"device": ""}),
    ((SMALL,), {"threads": 0}),
    ((SMALL,), {"seed": -1}),
    ((SMALL,), {"batch": 0}),
    ((SMALL,), {"lr": 0}),
    ((SMALL,), {"lr": float("nan")}),
    ((SMALL,), {"lr": "fast"}),
    ((SMALL,), {"activation": "step"}),
    ((SMALL,), {"bias": 3}),
    ((SMALL,), {"loss": "hinge"}),
    ((SMALL,), {"optimizer": "lion"}),
    ((SMALL,), {"momentum": 0.5}),
    ((SMALL,), {"betas": (1, 2, 3), "optimizer": "adam"}),
    ((SMALL,), {"gamma": 0.1, "rule": "bp"}),
    ((SMALL,), {"steps": -1, "rule": "il"}),
    ((SMALL,), {"feedback_scale": 1.0}),
    ((SMALL,), {"feedback_scale": -1.0, "rule": "fa"}),
    ((SMALL,), {"feedback_scale": float("nan"), "rule": "fa"}),
    ((SMALL,), {"no_such_option": 1}),
    ((SMALL,), {"layer_lr": [1.0]}),
    ((SMALL,), {"pixels": (0.5, 0)}),
    ((SMALL,), {"pixels": (0.5, 0.5, 1)}),
    ((SMALL,), {"pixels": (0, 0, 0, 0, 0, 1, 1, 1, 1, 1)}),
    ((SMALL,), {"augment": "blur"}),
    ((SMALL,), {"augment": 4}),
    ((SMALL,), {"targets": (1, -1)}),
    ((SMALL,), {"init": "zeros"}),
    ((SMALL,), {"init_gain": float("inf")}),
    ((SMALL,), {"loss": "cross-entropy", "rule": "rpc"}),
    ((SMALL,), {"freeze": 4}),
    ((SMALL,), {"freeze": [1, 2, 3]}),
    ((SMALL,), {"freeze": "first"}),
    ((SMALL,), {"freeze": 1.5}),
    ((SMALL,), {"learning_rate": 0.1}),
    ((SMALL,), {"epochs": 3}),
]


@pytest.mark.parametrize("given", BAD_OPTIONS, ids=str)
def test_bad_options_are_refused_in_words(given):
    positional, named = given
    with pytest.raises(errors.ZilchError) as raised:
        Network(*positional, **{"device": "cpu", **named})
    assert len(str(raised.value)) > 15 and "--" not in str(raised.value)


def test_bad_terms_of_a_fit(batch):
    x, y = batch
    network = Network(SMALL, device="cpu")
    for terms in (
        {"batch": 0}, {"batch": 21}, {"batch": 1.5}, {"batch": 1 << 70}, {"epochs": -1}, {"epochs": None}, {"validation": x},
        {"callback": 3}, {"validation": (x[:0], y[:0])}, {"patience": 2}, {"patience": 0, "validation": (x, y)}, {"epoch_updates": 0},
        {"epoch_updates": 1.5},
    ):
        with pytest.raises(errors.UsageError):
            network.fit(x, y, **terms)
    assert network.fit(x, y, epochs=0, batch=5).updates == 0


def test_each_error_is_a_class_of_its_own(tmp_path):
    with pytest.raises(errors.WeightsError) as raised:
        zilch_pc.load(tmp_path / "nothing.safetensors")
    assert isinstance(raised.value, errors.ZilchError) and isinstance(raised.value, ValueError)
    assert raised.value.path.endswith("nothing.safetensors")
    with pytest.raises(errors.FileError):
        Network(SMALL, device="cpu").save(tmp_path / "no" / "folder" / "w.safetensors")
    with pytest.raises(errors.NoDeviceError):
        Network(SMALL, device="no such adapter")
    with pytest.raises(errors.LimitError) as raised:
        Network([1 << 24, 1 << 24, 10], device="cpu")
    assert raised.value.needed > raised.value.available


def test_a_diverged_training_keeps_the_weights_before(batch):
    x, y = batch
    network = Network(SMALL, activation="relu", lr=1e18, device="cpu")
    with pytest.raises(errors.DivergedError) as raised:
        network.fit(x, y, epochs=50, batch=5)
    assert raised.value.update == network.updates + 1 and raised.value.layer in (1, 2, 3)
    assert all(np.isfinite(w).all() for w in network.weights.values())


def test_a_step_is_an_update_and_shows_what_it_computed(batch, devices, bits):
    x, y = batch
    for device in devices:
        network, silent = Network(SMALL, device=device), Network(SMALL, device=device)
        fitted = Network(SMALL, device=device)
        for _ in range(3):
            before = network.weights
            step = network.step(x, y, times=True)
            assert silent.step(x, y, read=False) is None
            fitted.fit(x, y, batch=20, shuffle=False)
        assert bits(network, silent) and bits(network, fitted)
        assert network.updates == silent.updates == 3
        assert step.eps[0].shape == (20, 4) and step.mu[1].shape == (20, 7) and step.x[2].shape == (20, 9)
        assert step.weights["theta.1"].tobytes() == network.weights["theta.1"].tobytes()
        # ε^0 at t = 0 is target − output, and weights follow ε f(x)ᵀ.
        at0 = step.times[0]
        np.testing.assert_allclose(at0["eps"][0], np.eye(4)[y] - at0["mu"][0], atol=1e-6)
        h = 1 / (1 + np.exp(-at0["x"][1]))
        change = step.weights["theta.1"] - before["theta.1"]
        np.testing.assert_allclose(change, 0.01 * at0["eps"][0].T @ h, atol=1e-6)
        assert list(step.times) == [0, 1, 2] and "times" in repr(step)


def test_what_is_not_given_is_recommended_for_the_rule(digits):
    x, y, x_test, y_test = digits
    for rule in ("zil", "bp", "il"):
        network = zilch_pc.Network(LAYERS, rule, device="cpu").fit(x, y, epochs=20)
        assert network.score(x_test, y_test) > 0.8 and network.updates == 20 * 600 // network.batch, rule
    paper = zilch_pc.Network(LAYERS, device="cpu", preset="paper")
    assert (paper.lr, paper.batch) == (0.001, 20) and "bias.1" not in paper.weights
    for wrong in ({"preset": "best"}, {"preset": 3}, {"presets": "paper"}):
        with pytest.raises(errors.UsageError, match="preset"):
            zilch_pc.Network(LAYERS, device="cpu", **wrong)


def test_infer_and_activity_learn_nothing(batch, devices, bits):
    x, y = batch
    for device in devices:
        for rule in ("zil", "bp", "il", "fazil", "kp"):
            network = Network(SMALL, rule, device=device, bias=True, optimizer="momentum")
            network.step(x, y, read=False)
            before, untouched = network.weights, pickle.loads(pickle.dumps(network))
            shown = network.infer(x)
            assert isinstance(shown, Activity) and not isinstance(shown, Step)
            assert (shown.mu[0] == network.predict(x)).all(), (device, rule)
            assert (set(shown.x), set(shown.mu), set(shown.h)) == ({1, 2}, {0, 1, 2}, {1, 2, 3}), (device, rule)
            assert (shown.h[3] == x).all() and "eps" not in shown.slots
            np.testing.assert_allclose(shown.h[1], 1 / (1 + np.exp(-shown.x[1])), rtol=1e-5)
            told = network.activity(x, y, times=rule == "zil")
            assert bits(network, untouched) and network.updates == 1 and "eps" in told.slots
            # It is what the step shows, and what the network does next is as if nothing had been asked.
            step = network.step(x, y)
            for name, layers in told.slots.items():
                for l, values in layers.items():
                    assert values.tobytes() == step.slots[name][l].tobytes(), (device, rule, name, l)
            untouched.step(x, y)
            assert bits(network, untouched) and any((network.weights[name] != before[name]).any() for name in before)
            if rule == "zil":
                assert list(told.times) == [0, 1, 2]
                assert (shown.x[1] == shown.mu[1]).all()


def test_every_rule_infers(batch):
    x, _ = batch
    for rule in zilch_pc.rules.names():
        network = Network(SMALL, rule, device="cpu")
        slots = network.infer(x).slots
        outputs = [layers[0] for layers in slots.values() if 0 in layers]
        assert any((found == network.predict(x)).all() for found in outputs), (rule, list(slots))


def test_a_schedule_does_not_stop_what_follows_a_fit(batch, devices, bits):
    x, y = batch
    for device in devices:
        for schedule in ("cosine", "step", "warm-cosine"):
            network = Network(SMALL, device=device, lr_schedule=schedule)
            assert network.predict(x).shape == (20, 4)
            network.fit(x, y, epochs=2, batch=5)
            assert 0 <= network.score(x, y) <= 1 and network.predict(x).shape == (20, 4)
            # A step has the plain rate.
            plain = Network(SMALL, device=device)
            plain.weights = network.weights
            network.step(x, y)
            plain.step(x, y)
            assert bits(network, plain)
            assert network.infer(x).mu[0].shape == (20, 4)


def test_frozen_layers_rest(batch, devices, bits, tmp_path):
    x, y = batch
    for device in devices:
        for rule, options in (("zil", {}), ("bp", {"optimizer": "adamw", "weight_decay": 0.1}), ("kp", {"decay": 0.01})):
            network = Network(SMALL, rule, device=device, bias=True, freeze=[2, "input"], **options)
            before = network.weights
            network.fit(x, y, epochs=3, batch=5).step(x, y)
            moved = {name for name, found in network.weights.items() if found.tobytes() != before[name].tobytes()}
            assert moved == {"theta.1", "bias.1"}, (device, rule)
            thawed = pickle.loads(pickle.dumps(network))
            assert bits(network.fit(x, y, batch=5), thawed.fit(x, y, batch=5))
        one, other = (Network(SMALL, "zil", device=device, **how).fit(x, y) for how in ({"freeze": 3}, {"layer_lr": [0, 1, 1]}))
        assert bits(one, other) and not bits(one, Network(SMALL, "zil", device=device).fit(x, y))


SUGGESTED = {
    "learning_rate": "did you mean lr?",
    "Learning_Rate": "did you mean lr?",
    "alpha": "did you mean lr?",
    "batch_size": "did you mean batch?",
    "optimiser": "did you mean optimizer?",
    "optimzer": "did you mean optimizer?",
    "random_state": "did you mean seed?",
    "lossfn": "did you mean loss?",
    "weightdecay": "did you mean weight_decay?",
    "feedback_scal": "did you mean feedback_scale?",
    "epochs": "fit\\(x, y, epochs=…\\)",
    "max_iter": "fit\\(x, y, epochs=…\\)",
    "zzz": "lists the options",
}


@pytest.mark.parametrize("name", SUGGESTED)
def test_words_that_are_not_known_are_answered_with_those_that_are(name):
    with pytest.raises(errors.UsageError, match=SUGGESTED[name]):
        Network(SMALL, device="cpu", **{name: 1})


def test_every_option_that_is_listed_is_one():
    for name in zilch_pc._core.option_names():
        try:
            Network(SMALL, device="cpu", **{name: "?"})
        except errors.ZilchError as error:
            assert "there is no option" not in str(error), name
    # A name is not taken for another that is known itself.
    assert not set(zilch_pc._words.SYNONYMS) & {*zilch_pc._core.option_names(), *zilch_pc._words.FIT, *zilch_pc._words.CREATION}


def test_words_of_fit(batch):
    x, y = batch
    network = Network(SMALL, device="cpu")
    for name, meant in (("batch_size", "did you mean batch"), ("callbacks", "did you mean callback"), ("epoch", "did you mean epochs"),
                        ("learning_rate", r"Network\(…, lr=…\)"), ("zzz", "its arguments are")):
        with pytest.raises(errors.UsageError, match=meant):
            network.fit(x, y, **{name: 1})
    assert network.updates == 0


def test_pixels_as_numbers_are_noticed(digits):
    x, y, *_ = digits
    for given in (x.astype("f4"), x.astype(int)):
        with pytest.warns(errors.PixelsWarning, match="Divide them by 255"):
            Network(LAYERS, device="cpu").fit(given[:20], y[:20])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (x, x / 255, x / np.float32(16), x / 255 - 0.5, x.astype("f4") * 10):
            Network(LAYERS, device="cpu", lr=1e-6).fit(given[:20], y[:20])
        Network(SMALL, device="cpu", lr=1e-6).fit(np.full((20, 12), 200.0), y[:20] % 4)


def test_scores(batch):
    x, y = batch
    network = Network(SMALL, device="cpu").fit(x, y, epochs=20, batch=5)
    right = (network.predict(x).argmax(1) == y).mean()
    assert network.score(x, y) == network.score(x, np.eye(4)[y]) == right
    # Other targets have R², as in scikit-learn.
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    random = np.random.default_rng(0)
    targets = random.normal(size=(20, 4)).astype("f4")
    assert network.score(x, targets) == pytest.approx(r2_score(targets, network.predict(x)), rel=1e-5)
    for outputs in (1, 2):
        wanted = x[:, :outputs] * 2 - 1
        regression = Network([12, 16, outputs], lr=0.02, bias=True, device="cpu")
        before = regression.score(x, wanted)
        regression.fit(x, wanted, epochs=400, batch=5)
        assert before < 0.5 < regression.score(x, wanted) < 1
        assert regression.score(x, wanted) == pytest.approx(r2_score(wanted, regression.predict(x)), rel=1e-5)
    one = Network([12, 16, 1], device="cpu", lr=0.02)
    # One output has no classes: y may be [samples].
    assert one.score(x, x[:, 0]) == one.score(x, x[:, :1]) == pytest.approx(r2_score(x[:, 0], one.predict(x)[:, 0]), rel=1e-5)
    assert one.fit(x, y).score(x, y) == pytest.approx(r2_score(y, one.predict(x)[:, 0]), rel=1e-5)
    assert one.score(x, np.zeros(20)) == 0
    diverged = Network([12, 9, 7, 2], lr=1e30, device="cpu")
    for _ in range(4):
        diverged.step(x, x[:, :2], read=False)
    assert np.isnan(diverged.predict(x)).any() and diverged.score(x, x[:, :2]) == float("-inf")


BAD_IMAGES = {
    "channels last": ((5, 8, 6, 3), "3x8x6,4c3,4", r"transpose\(0, 3, 1, 2\)"),
    "turned": ((5, 3, 6, 8), "3x8x6,4c3,4", "images of shape"),
    "other rows": ((5, 12, 4), "1x8x6,4c3,4", "images of shape"),
    "a frame": ((5, 1, 1, 8, 6), "1x8x6,4c3,4", "images of shape"),
    "samples last": ((48, 5), "1x8x6,4c3,4", "48 inputs"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_images_of_another_shape_are_refused(name):
    shape, layers, words = BAD_IMAGES[name]
    network = Network(layers, device="cpu")
    x = np.zeros(shape, "f4")
    for act in (lambda: network.fit(x, [0] * len(x), batch=1), lambda: network.predict(x), lambda: network.infer(x)):
        with pytest.raises(errors.UsageError, match=words):
            act()
    grey = Network("1x8x6,4c3,4", device="cpu")
    flat = np.random.default_rng(0).random((5, 48), dtype="f4")
    for good in ((5, 8, 6), (5, 1, 8, 6), (5, 8, 6, 1)):
        assert (grey.predict(flat.reshape(good)) == grey.predict(flat)).all()


def test_samples_and_features_the_wrong_way_round():
    with pytest.raises(errors.UsageError, match=r"give x\.T"):
        Network(SMALL, device="cpu").predict(np.zeros((12, 20)))


def test_files_by_their_ending(batch, tmp_path, bits):
    x, y = batch
    options = {"bias": True, "targets": (-1, 1), "activation": "tanh", "pixels": (0.5, 2)}
    for layers, given in ((SMALL, options), ("1x3x4,2c2,4", {}), ([12, 4], {"input_activation": True})):
        network = Network(layers, device="cpu", **given).fit(x, y, batch=5)
        for name in ("w.npz", "w.safetensors", "W.NPZ"):
            network.save(tmp_path / name)
            read = zilch_pc.load(tmp_path / name, device="cpu")
            assert bits(network, read) and (read.predict(x) == network.predict(x)).all(), name
        with np.load(tmp_path / "w.npz") as found:
            assert (found["theta.1"] == network.weights["theta.1"]).all()
    for name in ("w", "w.pt", "w.npy"):
        with pytest.raises(errors.UsageError, match=r"\.safetensors or \.npz"):
            network.save(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["W.NPZ", "w.npz", "w.safetensors"]
    with pytest.raises(errors.FileError):
        network.save(tmp_path / "no" / "w.npz")
    whole = (tmp_path / "w.npz").read_bytes()
    other = {"theta.1": np.zeros((4, 12)), "network": np.array('{"layers": [12, 4], "bias": false}')}
    bad = {"empty": b"", "cut": whole[:-40], "text": b"hello", "safetensors": (tmp_path / "w.safetensors").read_bytes()}
    arrays = {"nothing": {}, "more": {**other, "more": np.zeros(3)}, "flat": {**other, "theta.1": np.zeros(3)},
              "objects": {**other, "theta.1": np.array([None])}, "no json": {**other, "network": np.array("{")},
              "list": {**other, "network": np.array("[]")}}
    for name, content in bad.items():
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(errors.WeightsError) as raised:
            zilch_pc.load(tmp_path / "bad.npz")
        assert raised.value.path.endswith("bad.npz"), name
    for content in arrays.values():
        np.savez(tmp_path / "bad.npz", **content)
        with pytest.raises(errors.WeightsError):
            zilch_pc.load(tmp_path / "bad.npz", device="cpu")
    for layers in ('[12, 5]', '"12,"', "[]", "7"):
        np.savez(tmp_path / "bad.npz", **{**other, "network": np.array(f'{{"layers": {layers}, "bias": false}}')})
        with pytest.raises(errors.ZilchError):
            zilch_pc.load(tmp_path / "bad.npz", device="cpu")
    np.savez(tmp_path / "good.npz", **other)
    assert zilch_pc.load(tmp_path / "good.npz", device="cpu").layers == [12, 4]
    with pytest.raises(errors.WeightsError):
        zilch_pc.load(tmp_path / "nothing.npz")


def test_nothing_is_printed_that_nobody_asked_for():
    program = "import zilch_pc; zilch_pc.devices(); zilch_pc.Network([4, 3, 2]).step([[0, 0, 0, 0]], [1])"
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_RUNTIME_DIR", "NODEVICE_SELECT")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_targets_of_numbers_are_learned(batch):
    x, _ = batch
    wanted = np.stack([x[:, 0] + x[:, 1], x[:, 2] - x[:, 3]], axis=1)
    network = Network([12, 16, 2], lr=0.02, bias=True, device="cpu").fit(x, wanted, epochs=300, batch=5)
    assert network.history[-1]["train_loss"] < network.history[0]["train_loss"] / 5
    assert network.history[-1]["train_error"] is None


def test_weights_come_and_go(batch, tmp_path, bits):
    x, y = batch
    network = Network(SMALL, bias=True, device="cpu", targets=(-1, 1)).fit(x, y, batch=5)
    network.save(tmp_path / "w.safetensors")
    read = zilch_pc.load(tmp_path / "w.safetensors", device="cpu")
    assert bits(network, read) and read.layers == SMALL and read.options["targets"] == [-1.0, 1.0]
    assert (read.predict(x) == network.predict(x)).all()
    other = Network(SMALL, bias=True, seed=9, device="cpu")
    other.weights = network.weights
    assert bits(network, other) and list(network.weights) == [f"{k}.{l}" for l in (1, 2, 3) for k in ("theta", "bias")]
    for wrong in ({}, {**network.weights, "theta.9": 0}, {**network.weights, "theta.1": np.zeros((3, 3))},
                  {**network.weights, "theta.1": np.full((4, 7), np.nan)}):
        with pytest.raises(errors.UsageError):
            other.weights = wrong
    with pytest.raises(errors.UsageError, match="bias"):
        zilch_pc.load(tmp_path / "w.safetensors", bias=False)
    for clone in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert bits(network, clone) and repr(clone) == repr(network)
    assert "12-9-7-4" in repr(network) and "4 updates" in repr(network)
    numpy = pytest.importorskip("safetensors.numpy")
    assert (numpy.load_file(tmp_path / "w.safetensors")["theta.2"] == network.weights["theta.2"]).all()


def test_a_copy_is_a_network_of_its_own(batch, bits):
    x, y = batch
    network = Network(SMALL, device="cpu").fit(x, y, batch=5)
    for other in (copy.copy(network), copy.deepcopy(network)):
        other.fit(x, y, batch=5)
        assert (network.updates, other.updates, len(network.history), len(other.history)) == (4, 8, 1, 2)


def test_nan_is_no_answer(batch):
    x, y = batch
    network = Network(SMALL, lr=1e30, device="cpu")
    for _ in range(4):
        network.step(x, y, read=False)
    assert np.isnan(network.predict(x)).all() and network.score(x, np.zeros(20, int)) == 0
    before = network.updates
    with pytest.raises(errors.DivergedError):
        network.fit(x, y, batch=5)
    assert network.updates == before


def test_a_callback_that_raises_loses_nothing(digits, bits):
    x, y, *_ = digits
    for raised in (ZeroDivisionError, KeyboardInterrupt):

        def stop(network, row):
            raise raised

        network = Network(LAYERS, device="cpu")
        with pytest.raises(raised):
            network.fit(x, y, epochs=3, callback=stop)
        assert bits(network, Network(LAYERS, device="cpu").fit(x, y)) and len(network.history) == 1
        assert bits(network.fit(x, y), Network(LAYERS, device="cpu").fit(x, y, epochs=2))


def test_ctrl_c_keeps_what_was_learned():
    program = """
import os, signal, threading, numpy as np, zilch_pc
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores SIGINT, and children inherit that
x = np.random.default_rng(0).integers(0, 256, (4000, 784), dtype=np.uint8)
for given in (x, (x / 255).astype(np.float32)):
    network = zilch_pc.Network([784, 256, 256, 10], rule="il", device="cpu")
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        network.fit(given, np.arange(4000) % 10, epochs=100000)
    except KeyboardInterrupt:
        first = network.sha256
        assert network.updates > 0 and first != zilch_pc.Network([784, 256, 256, 10], rule="il", device="cpu").sha256
        network.fit(given[:100], np.arange(100) % 10)
        assert network.sha256 != first
        print("kept")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout == "kept\nkept\n", done.stderr


def test_other_threads_run_meanwhile(digits):
    """The GIL is released: a thread counts while a device works."""
    import threading

    x, y, *_ = digits
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    Network([784, 512, 512, 10], rule="il", device="cpu", threads=1).fit(x, y, epochs=1)
    stop.set()
    thread.join()
    assert counted[0] > 1000


def test_threads_take_turns_on_one_network(batch):
    from concurrent.futures import ThreadPoolExecutor

    x, y = batch
    network = Network(SMALL, device="cpu")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: network.step(x, y, read=False), range(200)))
    assert network.updates == 200


def test_fits_at_once(digits, bits):
    from concurrent.futures import ThreadPoolExecutor

    x, y, *_ = digits
    alone = Network(LAYERS, device="cpu").fit(x, y, epochs=4)
    with ThreadPoolExecutor(3) as pool:
        two = list(pool.map(lambda _: Network(LAYERS, device="cpu").fit(x, y, epochs=4), range(2)))
        assert bits(alone, two[0]) and bits(alone, two[1])
        # On one network they take turns, and nothing that one learned is lost.
        shared = Network(LAYERS, device="cpu")
        acts = [lambda: shared.fit(x, y, epochs=4), lambda: shared.fit(x, y, epochs=4),
                lambda: [shared.step(x[:20], y[:20], read=False) for _ in range(7)]]
        [done.result() for done in [pool.submit(act) for act in acts]]
        assert shared.updates == 2 * 120 + 7 and len(shared.history) == 8


def test_what_a_callback_learns_is_kept(digits, bits):
    x, y, *_ = digits

    def more(network, row):
        network.step(x[:20], y[:20], read=False)

    network = Network(LAYERS, device="cpu", optimizer="adam").fit(x, y, epochs=2, callback=more)
    by_hand = Network(LAYERS, device="cpu", optimizer="adam")
    for _ in range(2):
        by_hand.fit(x, y).step(x[:20], y[:20])
    assert network.updates == 62 and bits(network, by_hand)
    assert [row["updates"] for row in network.history] == [30, 61]


def test_predictions_in_pieces_are_the_same(digits):
    x, *_ = digits
    network = Network([784, 1500, 900, 10], device="cpu")
    assert (network.predict(x)[300:] == network.predict(x[300:])).all() and network.predict(x).shape == (600, 10)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork here")
def test_a_forked_process_goes_on():
    program = """
import multiprocessing, warnings, numpy as np, zilch_pc
warnings.simplefilter("ignore")
x = np.random.default_rng(0).random((200, 300), dtype=np.float32)
network = zilch_pc.Network([300, 400, 10], device="cpu", threads=2)
network.step(x, np.arange(200) % 10)
def work(i):
    network.step(x, np.arange(200) % 10)
    return network.updates, network.sha256
with multiprocessing.get_context("fork").Pool(1) as pool:
    found = pool.map(work, range(2), chunksize=1)
here = [work(i) for i in range(2)]
print(found == here)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr


def test_comparison_shows_itself():
    table = zilch_pc.compare([20, 16, 8], rules=["bp", "zil", "il"], batch=5, seconds=0.02)
    by_rule = {row["rule"]: row for row in table if row["schedule"] == "frontier" or row["rule"] == "bp"}
    assert by_rule["zil"]["divergence"]["bit_identical"] and not by_rule["il"]["divergence"]["bit_identical"]
    assert "the same bits" in repr(table) and table._repr_html_().startswith("<table>")
    assert table._repr_html_().count("<tr>") == len(table) + 1
    pandas = pytest.importorskip("pandas")
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and frame["median_us"].min() > 0
    alone = zilch_pc.compare("1x4x4,2c3,4", "zil", devices="cpu", batch=5, seconds=0.02)
    assert {row["rule"] for row in alone} == {"zil"}
    for wrong in ({"batch": -1}, {"batch": 0}, {"seed": -1}, {"rules": "none"}, {"devices": "no such adapter"}, {"layers": [20]}):
        with pytest.raises(errors.ZilchError):
            zilch_pc.compare(**{"layers": [20, 8], "seconds": 0.1, **wrong})
    with pytest.raises(errors.UsageError):
        zilch_pc.compare(seconds=-1)


def test_patience_ends_a_training_and_keeps_the_best(digits, bits):
    x, y, x_test, y_test = digits
    network = Network(LAYERS, lr=0.003, optimizer="adam", bias=True, device="cpu")
    network.fit(x, y, epochs=200, validation=(x_test, y_test), patience=3)
    errs = [row["validation_error"] for row in network.history]
    best = min(range(len(errs)), key=errs.__getitem__)
    assert len(errs) == best + 4 < 200
    assert network.best["epoch"] == best + 1 and network.best["validation_error"] == errs[best]
    other = Network(LAYERS, lr=0.003, optimizer="adam", bias=True, device="cpu").fit(x, y, epochs=best + 1)
    network.weights = network.best["weights"]
    assert bits(network, other) and 1 - network.score(x_test, y_test) == pytest.approx(errs[best])
    # Targets that are no labels are judged by their loss.
    numbers = Network([784, 8, 2], device="cpu").fit(x, np.ones((600, 2)), epochs=50, validation=(x_test, np.zeros((200, 2))), patience=1)
    assert numbers.best["epoch"] == 1 and len(numbers.history) == 2 and "validation_loss" in numbers.best


def test_epochs_of_so_many_updates(digits, bits):
    x, y, *_ = digits
    for options in ({}, {"lr_schedule": "cosine"}):
        network = Network(LAYERS, device="cpu", **options).fit(x, y, epochs=3, epoch_updates=7)
        assert [row["updates"] for row in network.history] == [7, 14, 21]
    once = Network(LAYERS, device="cpu").fit(x, y, epochs=3, epoch_updates=7)
    assert bits(once, Network(LAYERS, device="cpu").fit(x, y, epoch_updates=7).fit(x, y, epochs=2, epoch_updates=7))
    assert Network(LAYERS, device="cpu").fit(x, y, epoch_updates=1000).updates == 30


def test_f_of_the_input(digits, devices, bits, tmp_path):
    x, y, *_ = digits
    numbers = (x / 255).astype(np.float32)
    for activation in ("sigmoid", "tanh", "relu", "gelu"):
        make = lambda device="cpu": Network(LAYERS, activation=activation, input_activation=True, device=device)  # noqa: B023, E731
        pixels = make().fit(x, y)
        assert bits(pixels, make().fit(numbers, y))
        assert activation == "relu" or not bits(pixels, Network(LAYERS, activation=activation, device="cpu").fit(x, y))
    for device in devices:
        assert bits(make(device).fit(x, y), Network(LAYERS, "bp", activation="gelu", input_activation=True, device=device).fit(x, y))
    pixels.save(tmp_path / "w.safetensors")
    read = zilch_pc.load(tmp_path / "w.safetensors", device="cpu")
    assert read.options["input_activation"] is True and (read.predict(x) == pixels.predict(x)).all()


def test_the_recurrence_of_the_page_reads_every_row(digits):
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    block = page[page.index("**Recurrence.**") :].split("```")[1].removeprefix("python\n")
    # With weights that carry a difference through 28 steps.
    found = {"Network": lambda layers: Network(layers, device="cpu", activation="tanh", init="xavier", init_gain=1.5)}
    exec(block, found)
    network, x, y = found["network"], digits[0][:20], digits[1][:20]
    assert len(network.weights) == 3
    before = network.predict(x)
    for row in range(28):
        other = x.reshape(20, 28, 28).copy()
        other[:, row] ^= 255
        assert (network.predict(other) != before).any(1).all(), row
    network.fit(x, y, batch=20)
    assert network.updates == 1


def test_convolutions(digits, bits, tmp_path):
    x, y, *_ = digits
    layers = "1x28x28,4c5,m2,10"
    network = Network(layers, device="cpu", lr=1e-3).fit(x[:100], y[:100])
    assert bits(network, Network(layers, "bp", device="cpu", lr=1e-3).fit(x[:100].reshape(100, 28, 28), y[:100]))
    assert bits(network, Network(layers, device="cpu", lr=1e-3).fit((x[:100] / 255).astype("f4"), y[:100]))
    assert network.layers == [784, 2304, 10] or network.layers[0] == 784
    network.save(tmp_path / "w.safetensors")
    read = zilch_pc.load(tmp_path / "w.safetensors", device="cpu")
    assert (read.predict(x) == network.predict(x)).all() and repr(copy.deepcopy(network)) == repr(network)
    for wrong in ("", "784", "1x28x28,4z5,10", "784;10", "1x28x28,99c99,10"):
        with pytest.raises(errors.UsageError):
            Network(wrong, device="cpu")


def test_images_in_colour_are_scaled_by_channel_and_changed(devices, bits, tmp_path):
    (x, y), (x_test, y_test) = zilch_pc.colours()
    assert x.shape == (10000, 3072) and x_test.shape == (2000, 3072)
    x, y = x[:60], y[:60]
    layers, scale = "3x32x32,2c5s3,10", [0.5, 0.25, 0.75, 0.5, 0.25, 0.125]
    means, deviations = (np.repeat(np.float32(part), 1024) for part in (scale[:3], scale[3:]))
    numbers = (x / np.float32(255) - means) / deviations
    for device in devices:
        make = lambda **options: Network(layers, device=device, lr=1e-3, **options)  # noqa: B023, E731
        pixels = make(pixels=scale).fit(x, y)
        # As pixels, and as numbers that were scaled before.
        assert bits(pixels, make(pixels=scale).fit((x / np.float32(255)), y)) and bits(pixels, make().fit(numbers, y))
        changed = make(pixels=scale, augment="flip,crop4").fit(x, y)
        assert not bits(pixels, changed)
        assert bits(changed, make(pixels=scale, augment="flip,crop4", rule="bp").fit(x, y))
        with pytest.raises(errors.UsageError, match="uint8"):
            make(augment="flip").fit(numbers, y)
    pixels.save(tmp_path / "w.safetensors")
    read = zilch_pc.load(tmp_path / "w.safetensors", device=device)
    assert list(read.options["pixels"]) == scale and (read.predict(x_test[:9]) == pixels.predict(x_test[:9])).all()
    with pytest.raises(errors.UsageError, match="rows and columns"):
        Network([3072, 10], device="cpu", augment="flip").fit(x, y)


def test_examples_with_a_state_are_pixels(batch, digits):
    x, y = batch
    network = Network(SMALL, "ep", device="cpu")
    with pytest.raises(errors.UsageError, match="uint8"):
        network.fit(x, y, batch=5)
    assert network.updates == 0


def test_the_plan_is_told():
    assert re.search(r"t = 0 .*error", Network(SMALL, device="cpu").plan())
    assert zilch_pc.rules.about("fa")["options"] == {"feedback_scale": "1"}


def test_every_rule_learns(digits):
    x, y, *_ = digits
    for rule in zilch_pc.rules.names():
        network = Network([784, 12, 10], rule, device="cpu", lr=1e-4).fit(x[:60], y[:60])
        assert network.predict(x[:3]).shape == (3, 10) and network.updates == 3, rule
        assert np.isfinite(network.predict(x[:3])).all()


@pytest.mark.parametrize("rule", ["zil", "fa"])
def test_a_network_at_chance_says_what_helps(rule):
    (x, y), _ = zilch_pc.digits()
    at_chance = {"preset": "paper", "lr": 1e-9}
    with pytest.warns(ChanceWarning, match="always answering the most frequent class gives 90.00 %") as caught:
        zilch_pc.Network([784, 64, 10], rule, device="cpu", **at_chance).fit(x, y)
    words = str(caught[0].message).split(f"recommended for rule {rule!r}: ")[1]
    advised = eval(f"dict({words})")  # noqa: S307 - the words of the warning are arguments
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = zilch_pc.Network([784, 64, 10], rule, device="cpu", **{**at_chance, **advised}).fit(x, y, epochs=4)
    assert network.history[-1]["train_error"] < 0.6


def test_the_defaults_are_those_of_the_command_line(tmp_path):
    (x, y), _ = zilch_pc.digits()
    network = zilch_pc.Network([784, 128, 128, 10], device="cpu").fit(x, y)
    arguments = ["train", "--data", "digits", "--epochs", "1", "--device", "cpu", "--json"]
    ran = subprocess.run([sys.executable, "-m", "zilch_pc", *arguments], capture_output=True, check=True)
    assert network.sha256 == json.loads(ran.stdout)["weights_sha256"]
    estimator = ZilchClassifier(max_iter=1, random_state=0).fit(x.reshape(len(x), -1), y)
    assert estimator.network_.layers == network.layers and estimator.network_.lr == network.lr
