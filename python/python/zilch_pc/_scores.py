"""Scores of outputs."""

from __future__ import annotations

import numpy as np


def is_one_hot(targets: np.ndarray, held_to: tuple[float, float]) -> bool:
    """Whether each row is the target of a label: the one value on the label's output, the other value elsewhere."""
    if targets.shape[1] < 2:
        return False
    off, on = np.float32(held_to[0]), np.float32(held_to[1])
    hot = targets == on
    return bool((hot | (targets == off)).all() and (hot.sum(1) == 1).all())


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """The fraction of samples whose largest output is at the largest target. An output with NaN or infinity counts as wrong."""
    right = (outputs.argmax(1) == targets.argmax(1)) & np.isfinite(outputs).all(1)
    return float(right.mean())


def r_squared(outputs: np.ndarray, targets: np.ndarray) -> float:
    """R², the mean over outputs. A target that does not vary counts 1 if it is met exactly, else 0; NaN and infinity give −∞."""
    if not np.isfinite(outputs).all():
        return float("-inf")
    outputs, targets = outputs.astype(np.float64), targets.astype(np.float64)
    rest = ((targets - outputs) ** 2).sum(0)
    whole = ((targets - targets.mean(0)) ** 2).sum(0)
    varies = whole > 0
    scores = np.where(varies, 1 - rest / np.where(varies, whole, 1), (rest == 0).astype(np.float64))
    return float(scores.mean())
