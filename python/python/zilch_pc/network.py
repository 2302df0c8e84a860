"""The class Network."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import numpy as np

from . import _core, _files, _torch
from ._arrays import chance, labels_or_targets, numbers, samples, warn_of_chance, warn_of_pixels, whole
from ._defaults import NETWORK
from ._scores import accuracy, is_one_hot, r_squared
from ._words import check_fit, check_options
from .callbacks import Callback, ProgressBar, Verbose, listed
from .errors import UsageError
from .rules import Rule

#: The updates of an epoch after which a network should be better than chance.
_ENOUGH = 50
#: The most classes of an image data set.
_IMAGE_LABELS = 256
_Callback = Callback | Callable[["Network", dict[str, Any]], Any]


@dataclass
class Activity:
    """The values of the nodes of a network, as :meth:`Network.infer` and :meth:`Network.activity` return them.

    ``slots[name][layer]`` is an array of float32, [samples, units] for slots of units. ``times[t]`` holds the slots at time t, before the
    inference and learning of that moment; it is empty unless requested.
    """

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

    @property
    def h(self) -> dict[int, np.ndarray]:
        """f(x^l), what the units of a layer send: {layer: [samples, n^l]}. On the input layer it is the input."""
        return self.slots.get("h", {})

    def __repr__(self) -> str:
        names = ", ".join(f"{name}[{', '.join(map(str, layers))}]" for name, layers in self.slots.items())
        times = f", times {list(self.times)}" if self.times else ""
        return f"{type(self).__name__}({names}{times})"


@dataclass(repr=False)
class Step(Activity):
    """The values of one update: those of :class:`Activity`, and ``weights``, the weights after the update."""

    weights: dict[str, np.ndarray] = field(default_factory=dict)


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
        ``weight_decay``, ``momentum``, ``betas``, ``lr_schedule``, ``warmup``, ``layer_lr``, ``freeze``, ``init``, ``init_gain``,
        ``pixels``, ``augment``, ``targets``, ``input_activation``, and options of individual rules such as ``feedback_scale``.
        ``freeze=[2, 3]`` freezes the weight matrices θ² and θ³; ``"input"`` and ``"output"`` name the first and the last.
    """

    def __init__(
        self,
        layers: Sequence[int] | str,
        rule: str | Rule = NETWORK.rule,
        *,
        device: str = NETWORK.device,
        seed: int = NETWORK.seed,
        preset: str = NETWORK.preset,
        lr: float | None = None,
        activation: str | None = None,
        bias: bool | None = None,
        batch: int | None = None,
        loss: str | None = None,
        optimizer: str | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> None:
        check_options(options, rule.options if isinstance(rule, Rule) else ())
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
        if not isinstance(layers, Iterable):
            raise UsageError(f"layers takes sizes, input first, as in [784, 32, 10], or a string; {layers!r} given")
        self._layers = layers if isinstance(layers, str) else [whole(n, "a size of layers") for n in layers]
        self._rule = rule
        self._device = device
        self._threads = threads
        self._seed = whole(seed, "seed")
        self._epochs = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        # The error of always answering the most frequent class of the data of the last fit, if they are labels.
        self._chance: float | None = None
        core_rule = rule._core if isinstance(rule, Rule) else rule
        self._core = _core.Core(self._layers, core_rule, device, threads, self._seed, self._made)
        self._sizes, self._image = self._core.sizes(), self._core.image()
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
    def batch(self) -> int:
        """Default batch size of :meth:`fit`: samples per update."""
        return self._batch

    @property
    def seed(self) -> int:
        """The seed given at creation."""
        return self._seed

    @property
    def options(self) -> dict[str, Any]:
        """The options given at creation."""
        return dict(self._made)

    @property
    def lr(self) -> float:
        """The learning rate, without the factors of ``lr_schedule`` and ``layer_lr``.

        Assign a number to change it. A training takes it over with its next epoch, so that a callback can set it.
        """
        return self._core.lr()

    @lr.setter
    def lr(self, lr: float) -> None:
        try:
            rate = float(lr)
        except (TypeError, ValueError):
            raise UsageError(f"lr takes a number; {lr!r} given") from None
        with self._turn:
            self._core.set_lr(rate)
            self._made["lr"] = rate

    @property
    def updates(self) -> int:
        """Weight updates so far."""
        return self._core.updates()

    @property
    def epochs(self) -> int:
        """Epochs of :meth:`fit` so far."""
        return self._epochs

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
        # `wanted` is in the order of l.
        theta, bias = ([taken[name] for name in wanted if name.startswith(kind)] for kind in ("theta", "bias"))
        with self._turn:
            self._core.set_weights(theta, bias)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights to a file, as a whole or not at all.

        The ending of the path chooses the format: ``.safetensors``, which ``zilch eval`` reads too, or numpy's ``.npz``.
        :meth:`load` reads both.
        """
        if _files.ending(path) == ".npz":
            with self._turn:
                _files.write_npz(path, self._about(), self.weights)
        else:
            self._core.save(os.fsdecode(path))

    def _about(self) -> dict[str, Any]:
        """What a weights file says of the network."""
        made = {name: self._made.get(name) for name in ("pixels", "targets")}
        scales = {name: None if value is None else [float(v) for v in value] for name, value in made.items()}
        bias, drives = self._core.weights()[0][1] is not None, bool(self._made.get("input_activation", False))
        return {"layers": self._layers, "activation": self._core.activation(), "bias": bias, "input_activation": drives, **scales}

    @classmethod
    def load(cls, path: str | os.PathLike[str], rule: str | Rule = NETWORK.rule, **options: Any) -> Network:
        """Creates a network with the weights of a file that :meth:`save` or ``zilch train`` wrote.

        The file determines layers, activation, biases, pixel scale and targets. Other arguments are as in :class:`Network`.
        """
        npz = os.fsdecode(path).lower().endswith(".npz")
        found = _files.read_npz(path) if npz else _core.read_weights(os.fsdecode(path))
        of_file = {name: found[name] for name in ("activation", "bias", "input_activation", "pixels", "targets")}
        for name, value in of_file.items():
            given = options.get(name)
            if given is not None and (list(given) if isinstance(given, (tuple, list)) else given) != value:
                raise UsageError(f"{os.fsdecode(path)} has {name}={value!r}, but {options[name]!r} was given")
        network = cls(found["layers"], rule, **{**options, **of_file})
        network._core.set_weights(found["theta"], found["biases"])
        return network

    def to_torch(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """The weights as a state dict of torch, the layer at the input first.

        The keys are those of ``torch.nn.Sequential`` with an activation after each layer but the last: ``0.weight``, ``0.bias``,
        ``2.weight``, …. ``names`` gives the layers other names: ``["fc1", "fc2"]``. Such a module computes what :meth:`predict`
        does if ``input_activation`` is off. The weights of a convolution have torch's shape [out, in, rows, columns].
        """
        return _torch.state_dict(self.weights, self._core.kernels(), names)

    @classmethod
    def from_torch(
        cls, state: Any, rule: str | Rule = NETWORK.rule, *, layers: Sequence[int] | str | None = None, **options: Any
    ) -> Network:
        """Creates a network with the weights of a state dict of torch, or of a module.

        The dict has the weights and biases of linear layers in the order in which the network applies them, the input first. Their
        shapes give the layers. ``layers`` is needed for convolutions: ``from_torch(state, layers="1x28x28,6c5,10")``.
        """
        found = _torch.layers_of(state)
        sizes = layers if layers is not None else _torch.sizes(found)
        bias = any(bias is not None for _, _, bias in found)
        network = cls(sizes, rule, **{"bias": bias, **options})
        network.weights = _torch.named(found, network.weights, network._core.kernels())
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
        callback: _Callback | Iterable[_Callback] | None = None,
        *,
        validation: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        patience: int | None = None,
        epoch_updates: int | None = None,
        verbose: bool | int = False,
        progress: bool = False,
        **unknown: Any,
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
            ``train_loss``, ``train_error``, ``validation_loss`` and ``validation_error``. A true return value ends the training. It is
            a function, an object of :mod:`zilch_pc.callbacks`, or a list of them, which are called in their order.
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
        verbose
            ``True`` prints one line per epoch, and a number n one line per n epochs.
        progress
            Whether to show a progress bar over epochs (by tqdm; without it, one line per epoch).

        A GPU that is lost during training is reopened, up to three times per call, with a :class:`~zilch_pc.errors.LostWarning`. The
        result has the bits of a training without such a loss.

        After Ctrl-C (KeyboardInterrupt) or a divergence (:class:`~zilch_pc.errors.DivergedError`) the network keeps what it has
        learned so far.
        """
        check_fit(unknown)
        epochs, batch = whole(epochs, "epochs"), self._batch if batch is None else whole(batch, "batch", least=1)
        patience = None if patience is None else whole(patience, "patience", least=1)
        most = None if epoch_updates is None else whole(epoch_updates, "epoch_updates", least=1)
        if patience is not None and validation is None:
            raise UsageError("patience needs validation=(x, y), on which epochs are compared")
        callbacks = listed(callback)
        if verbose:
            callbacks.append(Verbose(1 if verbose is True else whole(verbose, "verbose", least=1)))
        if progress:
            callbacks.append(ProgressBar())
        new = self.updates == 0
        run = self._begin(x, y, _Terms(epochs, batch, bool(shuffle), self._seed, self._epochs, most), validation)
        begun: list[Callback] = []
        try:
            for each in callbacks:
                begun.append(each)
                each.on_fit_begin(self, epochs)
            self._train(run, epochs, callbacks, patience, batch if new else None)
        finally:
            for each in begun:
                each.on_fit_end(self)
        return self

    def _train(
        self, run: _core.Fit, epochs: int, callbacks: Sequence[Callback], patience: int | None, new: int | None
    ) -> None:
        """The epochs of :meth:`fit`. ``new`` is the batch size of a network that has made no update yet."""
        self.best, stale = None, 0
        for _ in range(epochs):
            with self._turn:
                run.take_changes(self._core)
                try:
                    row = run.epoch()
                finally:
                    self._epochs += run.end_epoch(self._core)
            self.history.append(row)
            if new is not None and self._chance is not None:
                error = row["train_error"] if row["validation_error"] is None else row["validation_error"]
                if error is not None and row["updates"] >= _ENOUGH:
                    warn_of_chance(error, self._chance, self.rule, self._core.advice(new))
            new = None
            if patience is not None:
                stale = 0 if self._is_best(row) else stale + 1
            # All of them see the row, whichever ends the training.
            ends = [bool(each.on_epoch_end(self, row)) for each in callbacks]
            if any(ends) or stale == patience:
                break

    def _is_best(self, row: dict[str, Any]) -> bool:
        """Whether an epoch is better than all before it. If so, its weights are stored in :attr:`best`."""
        by = "validation_loss" if row["validation_error"] is None else "validation_error"
        if self.best is not None and not row[by] < self.best[by]:
            return False
        self.best = {"epoch": row["epoch"], by: row[by], "weights": self.weights}
        return True

    def _begin(self, x: Any, y: Any, terms: _Terms, validation: Any) -> _core.Fit:
        x, labels, targets = self._pair(x, y)
        warn_of_pixels(x)
        other = None
        if validation is not None:
            if not isinstance(validation, (tuple, list)) or len(validation) != 2:
                raise UsageError("validation takes (x, y)")
            try:
                other = self._pair(*validation)
            except UsageError as error:
                raise UsageError(f"validation: {error}") from error
        tested = labels if other is None else other[1]
        self._chance = None if tested is None else chance(tested)
        image = _image(x, labels)
        other_image = None if other is None else _image(other[0], other[1])
        if image is not None and (other is None or other_image is not None):
            return _core.Fit.on_images(self._core, *image, other_image, terms)
        tested = None if other is None else (other[0], other[2])
        return _core.Fit.on_arrays(self._core, x, targets, labels is not None, tested, terms)

    def _pair(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        x = self._samples(x)
        if len(x) == 0:
            raise UsageError("x has 0 samples; at least one is needed")
        labels, targets = labels_or_targets(y, len(x), self._sizes[-1], self._core.held_to())
        return x, labels, targets

    def _samples(self, x: Any) -> np.ndarray:
        return samples(x, self._sizes[0], self._image)

    def predict(self, x: Any) -> np.ndarray:
        """The outputs of the network, [samples, outputs] of float32. The predicted classes are ``predict(x).argmax(1)``."""
        return self._core.predict(self._samples(x))

    def score(self, x: Any, y: Any) -> float:
        """How well the network does on x: the accuracy for classes, and R² for other targets.

        The accuracy, 0 to 1, is the fraction of samples whose largest output is at the label. Targets [samples, outputs] are classes
        if each row is that of a label. R² is 1 for a perfect fit, 0 for the mean of y, and negative for less; it is the mean over
        outputs, as in scikit-learn's ``r2_score``.
        """
        x, labels, targets = self._pair(x, y)
        outputs = self.predict(x)
        if labels is not None or is_one_hot(targets, self._core.held_to()):
            return accuracy(outputs, targets)
        return r_squared(outputs, targets)

    def infer(self, x: Any) -> Activity:
        """The values of the nodes when the network predicts for x, without learning.

        ``infer(x).x[l]`` is x^l [samples, n^l]. Rules with units of their own have other slots, which ``infer(x).slots`` names.
        """
        x = self._samples(x)
        with self._turn:
            return Activity(self._core.infer(x))

    def activity(self, x: Any, y: Any, *, times: bool = False) -> Activity:
        """The values of the update that :meth:`step` would make on x and y. The network does not change.

        With ``times=True`` the result also has the slots at each time t of inference.
        """
        x, _, targets = self._pair(x, y)
        with self._turn:
            at = dict(self._core.times(x, targets)) if times else {}
            return Activity(self._core.activity(x, targets), at)

    @overload
    def step(self, x: Any, y: Any, *, read: Literal[True] = True, times: bool = False) -> Step: ...
    @overload
    def step(self, x: Any, y: Any, *, read: bool, times: Literal[True]) -> Step: ...
    @overload
    def step(self, x: Any, y: Any, *, read: Literal[False], times: Literal[False] = False) -> None: ...
    @overload
    def step(self, x: Any, y: Any, *, read: bool, times: bool = False) -> Step | None: ...
    def step(self, x: Any, y: Any, *, read: bool = True, times: bool = False) -> Step | None:
        """Makes one weight update on one batch, which is all of x with labels or targets y.

        Returns the values of the update, or None with ``read=False``, which is faster. With ``times=True`` the result also has the
        slots at each time t. They are computed by repeating the update up to each t, which is slow. ``lr_schedule`` spans a
        :meth:`fit`; a step has the rate :attr:`lr`.
        """
        x, _, targets = self._pair(x, y)
        with self._turn:
            at = dict(self._core.times(x, targets)) if times else {}
            slots = self._core.step(x, targets, read or times)
            return Step(slots, at, self.weights) if read or times else None


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


def load(path: str | os.PathLike[str], rule: str | Rule = NETWORK.rule, **options: Any) -> Network:
    """See :meth:`Network.load`."""
    return Network.load(path, rule, **options)
