"""What can go wrong. Every class says it in a paragraph, and derives from ZilchError."""

from __future__ import annotations


class ZilchError(Exception):
    """Any failure of zilch."""


class UsageError(ZilchError, ValueError):
    """Options or arrays contradict each other or lie outside their range."""


class NoDeviceError(ZilchError, RuntimeError):
    """No device of the kind asked for is there, or none can run."""


class LimitError(ZilchError, MemoryError):
    """The network needs more than a device or this machine offers.

    Attributes: ``needed`` and ``available``, in ``unit``.
    """

    needed: int
    available: int
    unit: str


class DataError(ZilchError, ValueError):
    """Data are malformed or do not fit the network. ``path`` says which."""

    path: str


class WeightsError(ZilchError, ValueError):
    """A weights file is unreadable or holds another network. ``path`` is the file."""

    path: str


class DivergedError(ZilchError, ArithmeticError):
    """Training made a number that is not finite; the network keeps the weights before that update.

    Attributes: ``update`` counts from 1, ``layer`` from the output, ``what`` is "the weights" or "the biases".
    """

    update: int
    layer: int
    what: str


class FileError(ZilchError, OSError):
    """A file or folder could not be read or written. ``path`` says which."""

    path: str


class GpuError(ZilchError, RuntimeError):
    """The GPU or its driver failed."""


class InterruptedError(ZilchError, RuntimeError):
    """Work was told to stop. Ctrl-C raises KeyboardInterrupt, and not this."""


class LostWarning(UserWarning):
    """A GPU was lost in ``fit`` and opened anew. The training goes on from the last good state, to the same bits."""
