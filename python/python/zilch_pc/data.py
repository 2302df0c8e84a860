"""The synthetic data sets, and data sets from files."""

from __future__ import annotations

import os

import numpy as np

from . import _core


def digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The synthetic digits of ``zilch train --data digits``: ((x, y), (x_test, y_test)), x [samples, 784] of uint8."""
    train, test = _core.data("digits")
    return train, test


def colours() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The synthetic colour images of ``zilch train --data colours``: ((x, y), (x_test, y_test)).

    x has shape [samples, 3072] and type uint8: the red, green and blue planes of an image follow each other.
    """
    train, test = _core.data("colours")
    return train, test


def idx(folder: str | os.PathLike[str]) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Reads a folder with MNIST's four files or CIFAR-10's six, gzipped or not: ((x, y), (x_test, y_test))."""
    path = os.fsdecode(folder)
    # Without "./" these names mean the synthetic sets.
    train, test = _core.data(f"./{path}" if path in ("digits", "colours") else path)
    return train, test
