"""The class Network."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _core
from ._arrays import labels_or_targets, numbers, samples, whole
from .errors import UsageError
from .rules import Rule

#: The most classes of an image data set.
_IMAGE_LABELS = 256


@dataclass
class Step:
    """The values of one update.

    ``weights`` are those after the update. ``slots[name][layer]`` is an array of float32, [samples, units] for slots of units.
    ``times[t]`` holds the slots at time t, before the inference and learning of that moment; it is empty unless requested.
    """

    weights: dict[str, np.ndarray]
    slots: dict[str, dict[int, np.ndarray]]
    times: dict[int, dict[str, dict[int, np.ndarray]]] = field(default_factory=dict)

    @property
    def eps(self) -> dict[int, np.ndarray]:
        """ε^l, the error nodes, at the end of the update: {layer: [samples, n^l]}. Layer 0 is the output."""
        return self.slots.get("eps", {})

    @property
    def mu(self) -> dict[int, np.ndarray]:
        """μ^l, the predictions: {layer: [samples, n^l]}."""
        return self.slots.get("mu", {})

    @property
    def x(self) -> dict[int, np.ndarray]:
        """x^l, the value nodes: {layer: [samples, n^l]}. On layer 0 they are the targets."""
        return self.slots.get("x", {})

    def __repr__(self) -> str:
        names = ", ".join(f"{name}[{', '.join(map(str, layers))}]" for name, layers in self.slots.items())
        times = f", times {list(self.times)}" if self.times else ""
        return f"Step({names}{times})"


class Network:
    """A network that is trained by a rule.

    Parameters
    ----------
    layers
        Sizes, input first: ``[784, 32, 32, 10]``; or a string in the notation of ``zilch train --layers``, which also has
        convolutions: ``"1x28x28,6c5p2,a2,16c5,a2,120,84,10"``.
    rule
        A name out of ``zilch_pc.rules.names()``, or a custom rule (:mod:`zilch_pc.rules`).
    device
        ``"auto"`` (the first hardware GPU, else the CPU), ``"cpu"``, ``"gpu"`` (a software GPU if there is no other), or a part of
        the name of an adapter.
    seed
        Seed of the initial weights, of the order of samples, and of the random values that a rule draws.
    preset
        The values of options that are not given: ``"recommended"``, with which each rule learns, or ``"paper"``, those of Song et al.
        (2020). They are those of ``zilch train``.
    lr
        The learning rate α. Weight changes are averaged over a batch, or summed with ``mean=False``.
    activation, bias
        The activation f of hidden layers (``"sigmoid"``, ``"tanh"``, ``"relu"``, …); whether layers have biases.
    batch
        Default batch size of :meth:`fit`.
    loss, optimizer
        ``"squared"`` or ``"cross-entropy"``; ``"sgd"``, ``"momentum"``, ``"adam"`` or ``"adamw"``.
    threads
        CPU threads; all by default.
    **options
        Any other option of ``zilch train --help`` for the rule, with _ for -: ``gamma``, ``steps``, ``schedule``, ``mean``,
        ``weight_decay``, ``momentum``, ``betas``, ``lr_schedule``, ``warmup``, ``layer_lr``, ``init``, ``init_gain``, ``pixels``,
        ``augment``, ``targets``, ``input_activation``, and options of individual rules such as ``feedback_scale``.
    """

    def __init__(
        self,
        layers: Sequence[int] | str,
        rule: str | Rule = "zil",
        *,
        device: str = "auto",
        seed: int = 0,
        preset: str = "recommended",
        lr: float | None = None,
        activation: str | None = None,
        bias: bool | None = None,
        batch: int | None = None,
        loss: str | None = None,
        optimizer: str | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        given = {
            "preset": preset,
            "activation": activation,
            "bias": bias,
            "batch": None if batch is None else whole(batch, "batch", least=1),
            "lr": lr,
            "loss": loss,
            "optimizer": optimizer,
            **options,
        }
        self._made = {name: value for name, value in given.items() if value is not None}
        self._layers = layers if isinstance(layers, str) else [whole(n, "a size of layers") for n in layers]
        self._rule = rule
        self._device = device
        self._threads = threads
        self._seed = whole(seed, "seed")
        self._epochs = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        core_rule = rule._core if isinstance(rule, Rule) else rule
        self._core = _core.Core(self._layers, core_rule, device, threads, self._seed, self._made)
        self._sizes = self._core.sizes()
        self._batch = self._core.batch()
        # Held by a thread for an epoch or a step.
        self._turn = threading.RLock()

    # Properties

    @property
    def layers(self) -> list[int]:
        """Units of each layer, input first."""
        return list(self._sizes)

    @property
    def rule(self) -> str:
        """The rule's name."""
        return self._rule.name if isinstance(self._rule, Rule) else self._rule

    @property
    def device(self) -> str:
        """The device's name."""
        return self._core.device()[0]

    @property
    def options(self) -> dict[str, Any]:
        """The options given at creation."""
        return dict(self._made)

    @property
    def updates(self) -> int:
        """Weight updates so far."""
        return self._core.updates()

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights' bits, as ``zilch train`` prints it."""
        return self._core.sha256()

    def plan(self) -> str:
        """The plan of one update, moment by moment, as ``zilch plan`` prints it."""
        return self._core.plan()

    def __repr__(self) -> str:
        sizes = self._layers.replace(",", "-") if isinstance(self._layers, str) else "-".join(map(str, self._layers))
        shown = ", ".join(f"{k}={v!r}" for k, v in self._made.items() if not (k == "bias" and not v))
        return f"Network({sizes}, rule={self.rule!r}, {shown}; {self.updates} updates, {self.device})"

    # Weights and files

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Copies of the weights by their names in weights files: ``theta.l`` [n^{l−1}, n^l] and ``bias.l`` [n^{l−1}].

        Layer l = 1 is next to the output.

        Assign a dict of the same names and shapes to replace them.
        """
        named = {}
        for l, (theta, bias) in enumerate(self._core.weights(), 1):
            named[f"theta.{l}"] = theta
            if bias is not None:
                named[f"bias.{l}"] = bias
        return named

    @weights.setter
    def weights(self, weights: Mapping[str, Any]) -> None:
        wanted = {name: found.shape for name, found in self.weights.items()}
        if set(weights) != set(wanted):
            raise UsageError(f"weights takes exactly the names {', '.join(wanted)}; {', '.join(map(str, weights))} given")
        taken = {name: numbers(np.asarray(weights[name]), name) for name in wanted}
        for name, shape in wanted.items():
            if taken[name].shape != shape:
                raise UsageError(f"{name} has shape {taken[name].shape}; expected {shape}")
        depth = len(self._sizes) - 1
        theta = [taken[f"theta.{l}"] for l in range(1, depth + 1)]
        bias = [taken[f"bias.{l}"] for l in range(1, depth + 1) if f"bias.{l}" in taken]
        with self._turn:
            self._core.set_weights(theta, bias)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights to a safetensors file, which ``zilch eval`` and :meth:`load` read."""
        self._core.save(os.fsdecode(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], rule: str | Rule = "zil", **options: Any) -> Network:
        """Creates a network with the weights of a file.

        The file determines layers, activation, biases, pixel scale and targets. Other arguments are as in :class:`Network`.
        """
        found = _core.read_weights(os.fsdecode(path))
        of_file = {name: found[name] for name in ("activation", "bias", "input_activation", "pixels", "targets")}
        for name, value in of_file.items():
            given = options.get(name)
            if given is not None and (list(given) if isinstance(given, (tuple, list)) else given) != value:
                raise UsageError(f"{os.fsdecode(path)} has {name}={value!r}, but {options[name]!r} was given")
        network = cls(found["layers"], rule, **{**options, **of_file})
        network._core.set_weights(found["theta"], found["biases"])
        return network

    def __getstate__(self) -> dict[str, Any]:
        with self._turn:
            updates, persistent = self._core.persistent()
            weights = self._core.weights()
        state = {k: v for k, v in self.__dict__.items() if k not in ("_core", "_turn")}
        return {**state, "_state": (updates, persistent, weights)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        updates, persistent, weights = state.pop("_state")
        # A copy must not share the history list.
        self.__dict__.update(state, history=list(state["history"]), _turn=threading.RLock())
        rule = self._rule._core if isinstance(self._rule, Rule) else self._rule
        self._core = _core.Core(self._layers, rule, self._device, self._threads, self._seed, self._made)
        self._core.set_weights([theta for theta, _ in weights], [bias for _, bias in weights if bias is not None])
        self._core.put_persistent(updates, persistent)

    # Training and prediction

    def fit(
        self,
        x: Any,
        y: Any,
        epochs: int = 1,
        batch: int | None = None,
        callback: Callable[[Network, dict[str, Any]], Any] | None = None,
        *,
        validation: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        patience: int | None = None,
        epoch_updates: int | None = None,
    ) -> Network:
        """Trains on samples for some epochs. A further call continues the training.

        Parameters
        ----------
        x
            [samples, inputs], or images [samples, rows, cols]. uint8 means pixels, which are divided by 255; it is the fastest type.
            Any other type is converted to float32. The array may have any layout, and may be numpy or anything with DLPack or
            ``__array__``.
        y
            Labels [samples] from 0, or targets [samples, outputs].
        epochs, batch
            Passes over the samples; samples per update. An incomplete last batch of an epoch is dropped.
        callback
            Called after each epoch with the network and a row, a dict with ``epoch``, ``updates``, ``seconds`` (of updates),
            ``train_loss``, ``train_error``, ``validation_loss`` and ``validation_error``. A true return value ends the training.
        validation
            (x, y) for evaluation after each epoch.
        shuffle
            Whether each epoch has its own random order of samples.
        patience
            Early stopping: ends the training after this number of consecutive epochs without improvement on ``validation`` (a smaller
            error, or a smaller loss if there are no labels). :attr:`best` holds the best epoch: ``epoch``, the criterion, and
            ``weights``.
        epoch_updates
            The most updates per epoch; by default an epoch is a full pass.

        A GPU that is lost during training is reopened, up to three times per call, with a :class:`~zilch_pc.errors.LostWarning`. The
        result has the bits of a training without such a loss.

        After Ctrl-C (KeyboardInterrupt) or a divergence (:class:`~zilch_pc.errors.DivergedError`) the network keeps what it has
        learned so far.
        """
        epochs, batch = whole(epochs, "epochs"), self._batch if batch is None else whole(batch, "batch", least=1)
        patience = None if patience is None else whole(patience, "patience", least=1)
        most = None if epoch_updates is None else whole(epoch_updates, "epoch_updates", least=1)
        if patience is not None and validation is None:
            raise UsageError("patience needs validation=(x, y), on which epochs are compared")
        if callback is not None and not callable(callback):
            raise UsageError(f"callback takes a function of the network and a row; {callback!r} given")
        run = self._begin(x, y, _Terms(epochs, batch, bool(shuffle), self._seed, self._epochs, most), validation)
        self.best, stale = None, 0
        for _ in range(epochs):
            with self._turn:
                run.take_changes(self._core)
                try:
                    row = run.epoch()
                finally:
                    self._epochs += run.end_epoch(self._core)
            self.history.append(row)
            if patience is not None:
                stale = 0 if self._is_best(row) else stale + 1
            if (callback is not None and callback(self, row)) or stale == patience:
                break
        return self

    def _is_best(self, row: dict[str, Any]) -> bool:
        """Whether an epoch is better than all before it. If so, its weights are stored in :attr:`best`."""
        by = "validation_loss" if row["validation_error"] is None else "validation_error"
        if self.best is not None and not row[by] < self.best[by]:
            return False
        self.best = {"epoch": row["epoch"], by: row[by], "weights": self.weights}
        return True

    def _begin(self, x: Any, y: Any, terms: _Terms, validation: Any) -> _core.Fit:
        x, labels, targets = self._pair(x, y)
        other = None
        if validation is not None:
            if not isinstance(validation, (tuple, list)) or len(validation) != 2:
                raise UsageError("validation takes (x, y)")
            try:
                other = self._pair(*validation)
            except UsageError as error:
                raise UsageError(f"validation: {error}") from error
        image = _image(x, labels)
        other_image = None if other is None else _image(other[0], other[1])
        if image is not None and (other is None or other_image is not None):
            return _core.Fit.on_images(self._core, *image, other_image, terms)
        tested = None if other is None else (other[0], other[2])
        return _core.Fit.on_arrays(self._core, x, targets, labels is not None, tested, terms)

    def _pair(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        x = samples(x, self._sizes[0])
        if len(x) == 0:
            raise UsageError("x has 0 samples; at least one is needed")
        labels, targets = labels_or_targets(y, len(x), self._sizes[-1], self._core.held_to())
        return x, labels, targets

    def predict(self, x: Any) -> np.ndarray:
        """The outputs of the network, [samples, outputs] of float32. The predicted classes are ``predict(x).argmax(1)``."""
        return self._core.predict(samples(x, self._sizes[0]))

    def score(self, x: Any, y: Any) -> float:
        """The accuracy, 0 to 1: the fraction of samples whose largest output is at the label (at the largest target)."""
        x, _, targets = self._pair(x, y)
        outputs = self.predict(x)
        # An output with NaN or infinity counts as wrong.
        right = (outputs.argmax(1) == targets.argmax(1)) & np.isfinite(outputs).all(1)
        return float(right.mean())

    def step(self, x: Any, y: Any, *, read: bool = True, times: bool = False) -> Step | None:
        """Makes one weight update on one batch, which is all of x with labels or targets y.

        Returns the values of the update, or None with ``read=False``, which is faster. With ``times=True`` the result also has the
        slots at each time t. They are computed by repeating the update up to each t, which is slow.
        """
        x, _, targets = self._pair(x, y)
        with self._turn:
            at = dict(self._core.times(x, targets)) if times else {}
            slots = self._core.step(x, targets, read or times)
            return Step(self.weights, slots, at) if read or times else None


def _image(x: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Pixels and labels as uint8, or None if they are something else."""
    if x.dtype != np.uint8 or labels is None or labels.max(initial=0) >= _IMAGE_LABELS:
        return None
    return x, labels.astype(np.uint8)


@dataclass
class _Terms:
    epochs: int
    batch: int
    shuffle: bool
    seed: int
    epoch: int
    epoch_updates: int | None


def load(path: str | os.PathLike[str], rule: str | Rule = "zil", **options: Any) -> Network:
    """See :meth:`Network.load`."""
    return Network.load(path, rule, **options)
