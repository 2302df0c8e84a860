"""The default settings of networks and estimators. They stand here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkDefaults:
    """The defaults of :class:`~zilch_pc.Network`. The preset has those of all other options, as on the command line."""

    rule: str = "zil"
    device: str = "auto"
    seed: int = 0
    preset: str = "recommended"


@dataclass(frozen=True)
class EstimatorDefaults:
    """The defaults of the estimators, by scikit-learn's names. None is the value of the preset for the rule."""

    hidden_layer_sizes: tuple[int, ...] | None = None
    rule: str = "zil"
    learning_rate_init: float | None = None
    max_iter: int | None = None
    batch_size: int | None = None
    bias: bool | None = None
    solver: str | None = None
    device: str = "cpu"
    loss: str | None = None


#: Passes over the samples where no number is given, as on the command line; and the least updates, which small sets need.
EPOCHS, UPDATES = 10, 2400


def epochs_for(samples: int, batch: int) -> int:
    """Passes over this number of samples where no number is given."""
    return max(EPOCHS, -(-UPDATES // max(samples // batch, 1)))


NETWORK = NetworkDefaults()
ESTIMATOR = EstimatorDefaults()
