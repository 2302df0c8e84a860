"""zilch: predictive coding networks on the CPU and any GPU, with learning that is bit-identical to backpropagation.

    >>> from zilch_pc import Network
    >>> network = Network([784, 32, 32, 10], rule="zil", lr=0.01).fit(images, labels, epochs=10)   # doctest: +SKIP
    >>> network.score(test_images, test_labels)                                                    # doctest: +SKIP

Layers are numbered from the output, 0, to the input.
"""

from __future__ import annotations

import os as _os
import sys as _sys
from typing import TYPE_CHECKING, Any

if _sys.platform == "linux" and "XDG_RUNTIME_DIR" not in _os.environ:
    # Without a desktop session Mesa's device-select layer prints an error for every Vulkan instance, and cannot select a device.
    _os.environ.setdefault("NODEVICE_SELECT", "1")

from . import callbacks, errors, rules
from ._core import VERSION as __version__
from .comparing import Comparison, compare, devices
from .data import colours, digits, load_data
from .errors import ZilchError
from .network import Activity, Network, Step, load

if TYPE_CHECKING:
    from .estimator import ZilchClassifier, ZilchRegressor

__all__ = [
    "Activity",
    "Comparison",
    "Network",
    "Step",
    "ZilchClassifier",
    "ZilchError",
    "ZilchRegressor",
    "__version__",
    "callbacks",
    "colours",
    "compare",
    "devices",
    "digits",
    "errors",
    "load",
    "load_data",
    "rules",
]


_ESTIMATORS = ("ZilchClassifier", "ZilchRegressor")


def __getattr__(name: str) -> Any:
    # The estimators are imported on first use, since they need scikit-learn.
    if name in _ESTIMATORS:
        from . import estimator

        return getattr(estimator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ESTIMATORS])
