"""Callbacks of a training: lists of them, progress, the learning rate, TensorBoard and Weights & Biases."""

import builtins
import struct
import sys
import types

import numpy as np
import pytest
from plain import Network
from zilch_pc import errors
from zilch_pc.callbacks import Callback, LearningRate, ProgressBar, TensorBoard, Verbose, WandB

LAYERS = [12, 9, 4]


class Diary(Callback):
    def __init__(self, ends=None, fails=False):
        self.seen, self.ends, self.fails = [], ends, fails

    def on_fit_begin(self, network, epochs):
        self.seen.append(("begin", epochs))

    def on_epoch_end(self, network, row):
        self.seen.append(row["epoch"])
        if self.fails:
            raise ZeroDivisionError
        return row["epoch"] == self.ends

    def on_fit_end(self, network):
        self.seen.append("end")


def without(monkeypatch, *names):
    """As if these packages were not installed."""
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.partition(".")[0] in names:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_list_of_callbacks(batch):
    x, y = batch
    first, second, rows = Diary(ends=2), Diary(), []
    network = Network(LAYERS, device="cpu")
    network.fit(x, y, epochs=5, callback=[first, lambda n, row: rows.append((n is network, row["epoch"])), second])
    assert first.seen == second.seen == [("begin", 5), 1, 2, "end"] and rows == [(True, 1), (True, 2)]
    # A callback that has begun is also ended, even after an error.
    broken, later = Diary(fails=True), Diary()
    with pytest.raises(ZeroDivisionError):
        network.fit(x, y, epochs=5, callback=(broken, later))
    assert broken.seen == later.seen + [3] * 0 or later.seen == [("begin", 5), "end"]
    assert broken.seen == [("begin", 5), 3, "end"]
    for wrong in (3, [3], Diary, "print"):
        with pytest.raises(errors.UsageError, match="callback"):
            network.fit(x, y, callback=wrong)


def test_verbose_is_a_line_per_epoch(batch, capsys):
    x, y = batch
    network = Network(LAYERS, device="cpu").fit(x, y, epochs=4, verbose=True, validation=(x, y))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[2].startswith("epoch   3 · 3 updates") and "validation error" in lines[0]
    assert f"train loss {network.history[3]['train_loss']:.4g}" in lines[3]
    network.fit(x, y, epochs=4, verbose=2)
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == ["epoch   6", "epoch   8"]
    network.fit(x, np.zeros((20, 4)), callback=Verbose())
    assert "error" not in capsys.readouterr().out
    with pytest.raises(errors.UsageError):
        network.fit(x, y, verbose=-1)


def test_a_progress_bar(batch, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    x, y = batch
    network = Network(LAYERS, device="cpu").fit(x, y, epochs=3, progress=True)
    assert "3/3" in capsys.readouterr().err
    network.fit(x, y, epochs=5, callback=[ProgressBar(desc="mine"), lambda n, row: row["epoch"] == 5])
    shown = capsys.readouterr().err
    assert "mine" in shown and "2/5" in shown and "loss/train" in shown
    without(monkeypatch, "tqdm")
    network.fit(x, y, epochs=2, progress=True)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_learning_rate_can_be_read_and_set(batch, devices, bits):
    x, y = batch
    for device in devices:
        for options in ({}, {"optimizer": "adam"}, {"layer_lr": [1, 0.5]}):
            make = lambda lr=0.01: Network(LAYERS, device=device, lr=lr, **options)  # noqa: B023, E731
            network = make()
            assert network.lr == 0.01
            network.fit(x, y, epochs=3, batch=5, callback=lambda n, row: setattr(n, "lr", 0.01 / (row["epoch"] + 1)))
            assert network.lr == 0.01 / 4 == network.options["lr"]
            by_hand = make()
            for epoch in range(3):
                by_hand.lr = 0.01 / (epoch + 1)
                by_hand.fit(x, y, batch=5)
            assert bits(network, by_hand), (device, options)
            assert not bits(network, make().fit(x, y, epochs=3, batch=5))
    scheduled = Network(LAYERS, device="cpu").fit(x, y, epochs=3, batch=5, callback=LearningRate(lambda epoch: 0.01 / (epoch + 1)))
    plain = Network(LAYERS, device="cpu")
    for epoch in range(3):
        plain.lr = 0.01 / (epoch + 1)
        plain.fit(x, y, batch=5)
    assert bits(scheduled, plain)
    # A step has the new rate too.
    quick, slow = Network(LAYERS, device="cpu", lr=1.0), Network(LAYERS, device="cpu")
    quick.step(x, y)
    slow.step(x, y)
    slow.weights = Network(LAYERS, device="cpu").weights
    slow.lr = 1.0
    slow.step(x, y)
    assert bits(quick, slow)
    for wrong in (0, -1, float("nan"), "fast", None, 1e60):
        with pytest.raises(errors.UsageError, match="lr"):
            slow.lr = wrong
    assert slow.lr == 1.0


def events(folder):
    """The scalars of the event files in a folder, by tag."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in folder.glob("events*"):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value))
    return found


def test_tensorboard_has_what_the_history_has(batch, tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    x, y = batch
    network = Network(LAYERS, device="cpu")
    network.fit(x, y, epochs=3, validation=(x, y), callback=TensorBoard(tmp_path / "run", histograms=True))
    found = events(tmp_path / "run")
    for tag, key in (("loss/train", "train_loss"), ("error/validation", "validation_error")):
        assert [(step, value.simple_value) for step, value in found[tag]] == [
            (row["epoch"], pytest.approx(row[key])) for row in network.history
        ]
    assert [value.simple_value for _, value in found["lr"]] == [pytest.approx(0.01)] * 3
    assert len(found["theta.1"]) == 3 and found["theta.1"][0][1].histo.num == 4 * 9
    without(monkeypatch, "tensorboardX", "torch")
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        network.fit(x, y, callback=TensorBoard(tmp_path))


def test_wandb_is_offline_and_gets_each_epoch(batch, monkeypatch):
    """By a stand-in for the package, which keeps what it is given."""
    x, y = batch
    kept = {"log": []}

    class Run:
        def log(self, values, step):
            kept["log"].append((step, values))

        def finish(self):
            kept["finished"] = True

    def init(**settings):
        kept["settings"] = settings
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    network = Network(LAYERS, device="cpu").fit(x, y, epochs=2, callback=WandB("mine", tags=["a"]))
    assert kept["settings"]["mode"] == "offline" and kept["settings"]["project"] == "mine" and kept["settings"]["tags"] == ["a"]
    assert kept["settings"]["config"]["layers"] == LAYERS and kept["settings"]["config"]["lr"] == 0.01
    assert [step for step, _ in kept["log"]] == [1, 2] and kept["finished"]
    for (_, values), row in zip(kept["log"], network.history):
        assert values == {"loss/train": row["train_loss"], "error/train": row["train_error"], "lr": 0.01}
    monkeypatch.delitem(sys.modules, "wandb")
    without(monkeypatch, "wandb")
    with pytest.raises(ImportError, match="pip install wandb"):
        network.fit(x, y, callback=WandB())
