"""Callbacks for :meth:`Network.fit <zilch_pc.Network.fit>`: functions of the network and a row, or objects of :class:`Callback`.

    network.fit(x, y, epochs=20, callback=[ProgressBar(), TensorBoard("runs/1"), lambda network, row: row["train_error"] == 0])

The writers of other packages are imported when a training begins, so that importing this module needs none of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .errors import UsageError

if TYPE_CHECKING:
    from .network import Network

__all__ = ["Callback", "LearningRate", "ProgressBar", "TensorBoard", "Verbose", "WandB"]

#: The measurements of a row, and the names under which they are logged.
MEASURED = {
    "train_loss": "loss/train",
    "train_error": "error/train",
    "validation_loss": "loss/validation",
    "validation_error": "error/validation",
}


class Callback:
    """A callback with a beginning and an end. Each method may be left out."""

    def on_fit_begin(self, network: Network, epochs: int) -> None:
        """Called before the first epoch."""

    def on_epoch_end(self, network: Network, row: dict[str, Any]) -> Any:
        """Called after each epoch with its row. A true return value ends the training."""

    def on_fit_end(self, network: Network) -> None:
        """Called at the end, also after an error or Ctrl-C."""


class _Function(Callback):
    """A function as a callback."""

    def __init__(self, function: Callable[[Network, dict[str, Any]], Any]) -> None:
        self._function = function

    def on_epoch_end(self, network: Network, row: dict[str, Any]) -> Any:
        return self._function(network, row)


def listed(given: Any) -> list[Callback]:
    """The callbacks of ``fit(callback=…)``: none, one or several."""
    if given is None:
        return []
    several = isinstance(given, Iterable) and not isinstance(given, Callback) and not callable(given)
    return [_one(callback) for callback in (given if several else [given])]


def _one(given: Any) -> Callback:
    if isinstance(given, Callback):
        return given
    if isinstance(given, type) and issubclass(given, Callback):
        raise UsageError(f"callback takes an object; write {given.__name__}() for the class {given.__name__}")
    if not callable(given):
        raise UsageError(f"callback takes functions of the network and a row, or objects of zilch_pc.callbacks.Callback; {given!r} given")
    return _Function(given)


def scalars(network: Network, row: dict[str, Any]) -> dict[str, float]:
    """The measurements of an epoch and its learning rate, by the names under which they are logged."""
    measured = {name: row[key] for key, name in MEASURED.items() if row[key] is not None}
    return {**measured, "lr": network.lr}


class Verbose(Callback):
    """Prints one line after every ``every`` epochs. ``fit(verbose=True)`` is short for it."""

    def __init__(self, every: int = 1) -> None:
        self.every = every

    def on_epoch_end(self, network: Network, row: dict[str, Any]) -> None:
        if row["epoch"] % self.every == 0:
            print(line(row), flush=True)


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    parts = [f"epoch {row['epoch']:>3}", f"{row['updates']} updates", f"{row['seconds']:.2f} s", f"train loss {row['train_loss']:.4g}"]
    for key, name in (("train_error", "train error"), ("validation_loss", "validation loss"), ("validation_error", "validation error")):
        value = row[key]
        if value is not None:
            parts.append(f"{name} {100 * value:.3g} %" if key.endswith("error") else f"{name} {value:.4g}")
    return " · ".join(parts)


class ProgressBar(Callback):
    """A progress bar over epochs, by tqdm; one line per epoch where tqdm is not installed. ``fit(progress=True)`` is short for it."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self._bar: Any = None

    def on_fit_begin(self, network: Network, epochs: int) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self._bar = None
        else:
            self._bar = tqdm(**{"total": epochs, "unit": "epoch", "desc": network.rule, **self.settings})

    def on_epoch_end(self, network: Network, row: dict[str, Any]) -> None:
        if self._bar is None:
            print(line(row), flush=True)
            return
        shown = {name: f"{row[key]:.3g}" for key, name in MEASURED.items() if row[key] is not None}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def on_fit_end(self, network: Network) -> None:
        if self._bar is not None:
            self._bar.close()


class LearningRate(Callback):
    """Sets the learning rate of each epoch: ``LearningRate(lambda epoch: 0.01 * 0.9**epoch)``, with epochs from 0.

    An optimiser keeps its state. ``lr_schedule`` and ``warmup`` still multiply the rate.
    """

    def __init__(self, rate: Callable[[int], float]) -> None:
        self.rate = rate

    def on_fit_begin(self, network: Network, epochs: int) -> None:
        network.lr = self.rate(network.epochs)

    def on_epoch_end(self, network: Network, row: dict[str, Any]) -> None:
        network.lr = self.rate(network.epochs)


class TensorBoard(Callback):
    """Writes losses, errors and the learning rate for TensorBoard into a folder, by tensorboardX or by torch.

    With ``histograms=True`` it also writes a histogram of each weight matrix. ``writer`` is any object with ``add_scalar``.
    """

    def __init__(self, folder: str | os.PathLike[str] = "runs", *, histograms: bool = False, writer: Any = None) -> None:
        self.folder = os.fspath(folder)
        self.histograms = histograms
        self._given = writer
        self._writer: Any = None

    def on_fit_begin(self, network: Network, epochs: int) -> None:
        self._writer = self._given or _summary_writer(self.folder)

    def on_epoch_end(self, network: Network, row: dict[str, Any]) -> None:
        for name, value in scalars(network, row).items():
            self._writer.add_scalar(name, value, row["epoch"])
        if self.histograms:
            for name, weights in network.weights.items():
                self._writer.add_histogram(name, weights, row["epoch"])

    def on_fit_end(self, network: Network) -> None:
        if self._writer is not None and self._given is None:
            self._writer.close()


def _summary_writer(folder: str) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoard needs a writer: pip install tensorboardX") from error
    return SummaryWriter(folder)


class WandB(Callback):
    """Logs losses, errors and the learning rate to Weights & Biases. ``settings`` are those of ``wandb.init``.

    The mode is "offline" unless another is given: the run is written to a folder, and ``wandb sync`` uploads it.
    """

    def __init__(self, project: str | None = None, *, mode: str = "offline", **settings: Any) -> None:
        self.settings = {"project": project, "mode": mode, **settings}
        self._run: Any = None

    def on_fit_begin(self, network: Network, epochs: int) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError("WandB needs the package of Weights & Biases: pip install wandb") from error
        settings = {"device": network.device, "epochs": epochs, "lr": network.lr, **network.options}
        config = {"layers": network.layers, "rule": network.rule, **settings}
        self._run = wandb.init(**{"config": config, **self.settings})

    def on_epoch_end(self, network: Network, row: dict[str, Any]) -> None:
        self._run.log(scalars(network, row), step=row["epoch"])

    def on_fit_end(self, network: Network) -> None:
        if self._run is not None:
            self._run.finish()
