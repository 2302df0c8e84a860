"""The synthetic data sets, and data sets from files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core
from .errors import UsageError

Pair = tuple[np.ndarray, np.ndarray]


class Loaded(tuple[Pair, Pair]):
    """((x, y), (x_test, y_test)), with ``about``: names of columns and classes, scaling, and the split.

    A value v of column j of the file became ``(v - about["inputs"]["shift"][j]) / about["inputs"]["scale"][j]``; real targets
    likewise by about["targets"].
    """

    about: dict[str, Any]


def _load(spec: str, reading: dict[str, Any]) -> Loaded:
    (x, y, x_test, y_test), about = _core.data(spec, json.dumps(reading))
    loaded = Loaded(((x, y), (x_test, y_test)))
    loaded.about = json.loads(about) or {}
    return loaded


def digits() -> Loaded:
    """The synthetic digits of ``zilch train --data digits``: ((x, y), (x_test, y_test)), x [samples, 784] of uint8."""
    return _load("digits", {})


def colours() -> Loaded:
    """The synthetic colour images of ``zilch train --data colours``: ((x, y), (x_test, y_test)).

    x has shape [samples, 3072] and type uint8: the red, green and blue planes of an image follow each other.
    """
    return _load("colours", {})


def idx(folder: str | os.PathLike[str]) -> Loaded:
    """As :func:`load_data`, for a folder with the files of MNIST or CIFAR: ((x, y), (x_test, y_test)) of uint8."""
    return load_data(folder)


def load_data(
    path: str | os.PathLike[str],
    *,
    label: str | int | None = None,
    target_columns: Sequence[str | int] = (),
    ignore_columns: Sequence[str | int] = (),
    header: bool | None = None,
    scaling: str | None = None,
    test_part: float | None = None,
    split_seed: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Loaded:
    """Reads data as ``zilch train --data`` does: ((x, y), (x_test, y_test)).

    ``path`` is a CSV or .npz file, or a folder: MNIST, CIFAR-10, CIFAR-100, train.csv and test.csv, x.npy and y.npy, or images by
    class. x is uint8 for pixels, else float32. y holds labels, or real targets [samples, columns] of float32. The options are those of
    the command line; columns are named, or numbered from 1. ``scaling`` is "standard", "range" or "none".
    """
    for name, columns in (("target_columns", target_columns), ("ignore_columns", ignore_columns)):
        if isinstance(columns, (str, int)):
            raise UsageError(f"{name} takes a list of columns, as in {name}=[{columns!r}]")
    reading: dict[str, Any] = {
        "label": None if label is None else str(label),
        "target_columns": [str(column) for column in target_columns],
        "ignore_columns": [str(column) for column in ignore_columns],
        "header": header,
        "scaling": scaling,
        "test_part": None if test_part is None else float(test_part),
        "split_seed": None if split_seed is None else int(split_seed),
        "image_size": None if image_size is None else [int(side) for side in image_size],
    }
    spec = os.fsdecode(path)
    # Without "./" these names mean the synthetic sets.
    return _load(f"./{spec}" if spec in ("digits", "colours") else spec, reading)
