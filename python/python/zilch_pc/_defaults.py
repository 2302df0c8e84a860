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

    hidden_layer_sizes: tuple[int, ...] = (32, 32)
    rule: str = "zil"
    learning_rate_init: float | None = 0.005
    max_iter: int = 30
    batch_size: int | None = 20
    bias: bool | None = True
    solver: str | None = "adam"
    device: str = "cpu"
    classifier_loss: str | None = "cross-entropy"
    regressor_loss: str | None = "squared"


NETWORK = NetworkDefaults()
ESTIMATOR = EstimatorDefaults()
