"""Weights in numpy's .npz files."""

from __future__ import annotations

import io
import json
import os
import zipfile
from typing import Any

import numpy as np

from . import _core
from .errors import UsageError, WeightsError

#: The array of an .npz file that holds the network, as JSON.
ABOUT = "network"
_ENDINGS = (".safetensors", ".npz")


def ending(path: str | os.PathLike[str]) -> str:
    """The ending of a path to write to, which chooses the format."""
    found = os.path.splitext(os.fsdecode(path))[1].lower()
    if found not in _ENDINGS:
        raise UsageError(f"save chooses the format by the ending of the path: {' or '.join(_ENDINGS)}; {os.fsdecode(path)!r} given")
    return found


def write_npz(path: str | os.PathLike[str], about: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    """Writes a network and its weights."""
    out = io.BytesIO()
    named: dict[str, Any] = {ABOUT: np.array(json.dumps(about)), **weights}
    np.savez(out, **named)
    _core.write_file(os.fsdecode(path), out.getvalue())


def read_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a file of :func:`write_npz`: the network, and the lists ``theta`` and ``biases`` from l = 1."""
    try:
        with np.load(path, allow_pickle=False) as found:
            about = json.loads(str(found[ABOUT][()]))
            arrays = {name: np.ascontiguousarray(found[name], dtype=np.float32) for name in found.files if name != ABOUT}
        if not isinstance(about, dict):
            raise ValueError("its network is no object")
        for name in ("layers", "activation", "bias", "input_activation", "pixels", "targets"):
            about.setdefault(name, None)
        matrices = sum(name.startswith("theta.") for name in arrays)
        theta = [arrays.pop(f"theta.{l}") for l in range(1, matrices + 1)]
        biases = [arrays.pop(f"bias.{l}") for l in range(1, matrices + 1) if about["bias"]]
        if arrays or any(w.ndim != 2 for w in theta) or any(b.ndim != 1 for b in biases):
            raise ValueError("its arrays are not the weights of its network")
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        refused = WeightsError(f"{os.fsdecode(path)} is not an .npz file of zilch's weights: {error}")
        refused.path = os.fsdecode(path)
        raise refused from error
    return {**about, "theta": theta, "biases": biases}
