"""zilch: predictive coding networks on the CPU and any GPU, with learning that is bit-identical to backpropagation.

    >>> from zilch_pc import Network
    >>> network = Network([784, 32, 32, 10], rule="zil", lr=0.01).fit(images, labels, epochs=10)   # doctest: +SKIP
    >>> network.score(test_images, test_labels)                                                    # doctest: +SKIP

Layers are numbered from the output, 0, to the input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors, rules
from ._core import VERSION as __version__
from .comparing import Comparison, compare, devices
from .data import colours, digits, load_data
from .errors import ZilchError
from .network import Network, Step, load

if TYPE_CHECKING:
    from .estimator import ZilchClassifier

__all__ = [
    "Comparison",
    "Network",
    "Step",
    "ZilchClassifier",
    "ZilchError",
    "__version__",
    "colours",
    "compare",
    "devices",
    "digits",
    "errors",
    "load",
    "load_data",
    "rules",
]


def __getattr__(name: str) -> Any:
    # The estimator is imported on first use, since it needs scikit-learn.
    if name == "ZilchClassifier":
        from .estimator import ZilchClassifier

        return ZilchClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "ZilchClassifier"])
