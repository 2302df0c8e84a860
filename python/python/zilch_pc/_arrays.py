"""Conversion of arrays of any library and layout to those that the device takes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .errors import ChanceWarning, PixelsWarning, UsageError


def array(given: Any, name: str) -> np.ndarray:
    """Converts anything array-like to a numpy array: numpy, DLPack (torch, jax on the CPU), ``__array__``, lists."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise UsageError(f"{name} has masked values; fill them: {name}.filled(0)")
    if isinstance(given, np.ndarray):
        found = given
    else:
        if hasattr(given, "detach"):
            given = _torch(given)
        try:
            if hasattr(given, "__dlpack__"):
                found = np.from_dlpack(given)
            elif hasattr(given, "toarray"):
                raise UsageError(f"{name} is a sparse matrix; give {name}.toarray()")
            else:
                found = np.asarray(given)
        except UsageError:
            raise
        except Exception as error:
            try:
                found = np.asarray(given)
            except Exception:
                raise UsageError(
                    f"{name} of type {type(given).__name__} is not an array that the CPU can read ({error}); "
                    "move it to the CPU first"
                ) from error
    if found.dtype.name == "bfloat16":
        # The bfloat16 of jax, which numpy does not classify as a float type.
        found = found.astype(np.float32)
    if found.dtype == object:
        try:
            found = found.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name} holds objects that are not numbers: {error}") from error
    return found


def _torch(tensor: Any) -> Any:
    """Detaches a torch tensor from its graph, and materialises lazy conjugation and negation."""
    tensor = tensor.detach()
    for resolve in ("resolve_conj", "resolve_neg"):
        tensor = getattr(tensor, resolve, lambda same=tensor: same)()
    # numpy has no bfloat16, so that it is converted to float32.
    return tensor.float() if str(getattr(tensor, "dtype", "")) == "torch.bfloat16" else tensor


def samples(x: Any, inputs: int | None = None, image: tuple[int, ...] | list[int] | None = None) -> np.ndarray:
    """Converts x to a contiguous array [samples, inputs] of uint8 or float32. Images [samples, rows, cols] are flattened.

    ``image`` has the channels, rows and columns of the input, if the network reads images.
    """
    found = array(x, "x")
    if np.iscomplexobj(found):
        raise UsageError("x holds complex numbers. Complex data not supported; give real numbers")
    if found.ndim < 2:
        raise UsageError(
            f"x has shape {found.shape}. Expected 2D array [samples, inputs]. Reshape your data: "
            "x.reshape(1, -1) is one sample"
        )
    if found.ndim > 2:
        if image is not None:
            _check_image(found.shape, tuple(image))
        found = found.reshape(found.shape[0], int(np.prod(found.shape[1:])))
    if found.dtype != np.uint8:
        found = numbers(found, "x")
    if inputs is not None and found.shape[1] != inputs:
        turned = "; x is [samples, inputs]: give x.T" if len(found) == inputs else ""
        raise UsageError(f"x has {found.shape[1]} values per sample, but the network has {inputs} inputs{turned}")
    return np.ascontiguousarray(found)


def _check_image(shape: tuple[int, ...], image: tuple[int, ...]) -> None:
    """Refuses images of another shape than that of the input, [samples, channels, rows, columns]."""
    channels, rows, columns = image
    fitting = [image] + ([(rows, columns), (rows, columns, 1)] if channels == 1 else [])
    if shape[1:] in fitting:
        return
    text = f"x has images of shape {shape[1:]}, but the network reads {image}: channels, rows and columns"
    if shape[1:] == (rows, columns, channels):
        raise UsageError(f"{text}. Give x.transpose(0, 3, 1, 2), with the channels first")
    raise UsageError(text)


#: The least values per sample of which an array can look like images.
_PIXELS = 64


def warn_of_pixels(x: np.ndarray) -> None:
    """Warns of numbers that look like pixels which were not divided by 255."""
    if x.dtype == np.uint8 or x.ndim != 2 or x.shape[1] < _PIXELS or not len(x):
        return
    least, most = x.min(), x.max()
    if least >= 0 and 127 < most <= 255:
        warnings.warn(
            f"x holds numbers from {least:g} to {most:g}, which look like pixels. Divide them by 255, or give uint8, which zilch "
            "divides by 255",
            PixelsWarning,
            stacklevel=4,
        )


#: A training error above chance minus this counts as nothing learned.
_NEAR = 0.01


def chance(labels: np.ndarray) -> float:
    """The error of always answering the most frequent class."""
    return 1.0 - np.bincount(labels).max() / len(labels)


def warn_of_chance(error: float, chance: float, rule: str, advice: list[tuple[str, str]]) -> None:
    """Warns that nothing was learned, with what to try."""
    if chance <= _NEAR or not error > chance - _NEAR:
        return
    if advice:
        words = ", ".join(f"{name.replace('-', '_')}={_literal(value)}" for name, value in advice)
        tries = f"try the settings that are recommended for rule {rule!r}: {words}"
    else:
        tries = "try another lr"
    warnings.warn(
        f"the error is {100 * error:.2f} %, and always answering the most frequent class gives {100 * chance:.2f} %: after the first "
        f"epoch the network has learned nothing. If this does not change, {tries}",
        ChanceWarning,
        stacklevel=4,
    )


def _literal(value: str) -> str:
    """A value of the command line as it is written in Python."""
    if value in ("true", "false"):
        return value.capitalize()
    if all(_is_number(part) for part in value.split(",")):
        return f"[{value.replace(',', ', ')}]" if "," in value else value
    return repr(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def numbers(found: np.ndarray, name: str) -> np.ndarray:
    """Converts an array to float32 and refuses NaN and infinity."""
    if found.dtype.kind not in "fiub":
        raise UsageError(f"{name} has type {found.dtype}; expected uint8 or a float type")
    with np.errstate(over="ignore"):
        as_float = np.ascontiguousarray(found, dtype=np.float32)
    if not np.isfinite(as_float).all():
        what = "NaN" if np.isnan(as_float).any() else "infinity, or values beyond the range of float32"
        raise UsageError(f"{name} contains {what}")
    return as_float


def labels_or_targets(y: Any, count: int, outputs: int, held_to: tuple[float, float]) -> tuple[np.ndarray | None, np.ndarray]:
    """Converts y to (labels or None, targets). y holds labels [samples] or targets [samples, outputs]."""
    found = array(y, "y")
    if outputs == 1 and found.ndim == 1:
        # One output has no classes.
        found = found[:, None].astype(np.float32) if found.dtype.kind in "fiub" else found
    if found.ndim == 2 and (found.shape[1] == outputs and (outputs > 1 or found.dtype.kind == "f")):
        targets = numbers(found, "y")
        if len(targets) != count:
            raise UsageError(f"x has {count} samples, but y has {len(targets)}; expected equal numbers")
        return None, targets
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise UsageError(f"y has shape {found.shape}; expected labels [{count}] or targets [{count}, {outputs}]")
    if len(found) != count:
        raise UsageError(f"x has {count} samples, but y has {len(found)}; expected equal numbers")
    if found.dtype.kind == "f":
        numbers(found, "y")
        if not (found == np.floor(found)).all():
            raise UsageError(f"y holds labels that are not whole numbers; targets have shape [{count}, {outputs}]")
    elif found.dtype.kind not in "iub":
        raise UsageError(f"y has type {found.dtype}; expected labels 0 to {outputs - 1}, or targets [{count}, {outputs}]")
    if count and (found.min() < 0 or found.max() >= outputs):
        bad = found[(found < 0) | (found >= outputs)][0]
        raise UsageError(f"y holds the label {bad}, but the network has outputs for 0 to {outputs - 1}")
    labels = found.astype(np.int64)
    off, on = held_to
    targets = np.full((count, outputs), off, dtype=np.float32)
    targets[np.arange(count), labels] = on
    return labels, targets


def whole(value: Any, name: str, least: int = 0) -> int:
    """Converts a value to an integer of at least ``least``."""
    try:
        whole = int(value.__index__())
    except (AttributeError, TypeError):
        raise UsageError(f"{name} takes a whole number; {value!r} given") from None
    if not least <= whole < 2**63:
        raise UsageError(f"{name} takes a whole number of at least {least}; {value!r} given")
    return whole
