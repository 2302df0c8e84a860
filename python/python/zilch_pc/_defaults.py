"""The default settings of networks and estimators. They stand here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkDefaults:
    """The defaults of :class:`~zilch_pc.Network`. Options that are not here have the defaults of the command line."""

    rule: str = "zil"
    device: str = "auto"
    seed: int = 0
    lr: float = 0.01
    bias: bool = False
    batch: int = 20
    loss: str = "squared"
    optimizer: str = "sgd"


@dataclass(frozen=True)
class EstimatorDefaults:
    """The defaults of the estimators, by scikit-learn's names."""

    hidden_layer_sizes: tuple[int, ...] = (32, 32)
    rule: str = "zil"
    learning_rate_init: float = 0.005
    max_iter: int = 30
    batch_size: int = 20
    bias: bool = True
    solver: str = "adam"
    device: str = "cpu"
    classifier_loss: str = "cross-entropy"
    regressor_loss: str = "squared"


NETWORK = NetworkDefaults()
ESTIMATOR = EstimatorDefaults()
