"""The exceptions of zilch. All derive from ZilchError, and each message is a paragraph that says what to do."""

from __future__ import annotations


class ZilchError(Exception):
    """Any failure of zilch."""


class UsageError(ZilchError, ValueError):
    """An option or array is out of range, or options or arrays contradict each other."""


class NoDeviceError(ZilchError, RuntimeError):
    """No device of the requested kind exists or can run."""


class LimitError(ZilchError, MemoryError):
    """The work exceeds the limits of a device or of this machine.

    Attributes: ``needed`` and ``available``, in ``unit``.
    """

    needed: int
    available: int
    unit: str


class DataError(ZilchError, ValueError):
    """Data are malformed or do not fit the network. ``path`` names the file, folder or array."""

    path: str


class WeightsError(ZilchError, ValueError):
    """A weights file is unreadable or holds another network. ``path`` is the file."""

    path: str


class DivergedError(ZilchError, ArithmeticError):
    """Training produced a NaN or infinite weight. The network keeps the weights before that update.

    Attributes: ``update`` counts from 1, ``layer`` from the output, ``what`` is "the weights" or "the biases".
    """

    update: int
    layer: int
    what: str


class FileError(ZilchError, OSError):
    """A file or folder could not be read or written. ``path`` is the file or folder."""

    path: str


class GpuError(ZilchError, RuntimeError):
    """The GPU or its driver failed."""


class InterruptedError(ZilchError, RuntimeError):
    """Work was interrupted, but not by Ctrl-C, which raises KeyboardInterrupt."""


class ChanceWarning(UserWarning):
    """After its first epoch a network is no better than always answering the most frequent class."""


class PixelsWarning(UserWarning):
    """Numbers look like pixels of 0 to 255 that were not divided by 255."""


class LostWarning(UserWarning):
    """A GPU was lost during ``fit`` and reopened. Training continues from the last good state, to the same bits."""
