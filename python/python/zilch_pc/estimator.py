"""A scikit-learn classifier, for grid search, pipelines and cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .network import Network
from .rules import Rule


class ZilchClassifier(ClassifierMixin, BaseEstimator):
    """A network that is trained by a rule to classify.

    Parameters
    ----------
    hidden_layer_sizes
        Units of the hidden layers, the one next to the input first.
    rule, lr, activation, bias, loss, optimizer, device, threads
        As in :class:`~zilch_pc.Network`. Some rules define their own error and do not support ``loss="cross-entropy"``.
    epochs, batch
        Passes over the samples; samples per update, reduced to the number of samples if there are fewer.
    options
        Further options of the network: ``{"gamma": 0.1, "steps": 20}``.
    random_state
        Seed of the initial weights and of the order of samples.

    ``X`` of uint8 means pixels, which are divided by 255. Scale any other input first, for instance by ``StandardScaler``.
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (32, 32),
        rule: str | Rule = "zil",
        lr: float = 0.005,
        epochs: int = 30,
        batch: int = 20,
        activation: str | None = None,
        bias: bool = True,
        loss: str = "cross-entropy",
        optimizer: str = "adam",
        device: str = "cpu",
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.rule = rule
        self.lr = lr
        self.epochs = epochs
        self.batch = batch
        self.activation = activation
        self.bias = bias
        self.loss = loss
        self.optimizer = optimizer
        self.device = device
        self.threads = threads
        self.options = options
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> ZilchClassifier:
        """Trains on X [samples, features] and labels y [samples] of any type."""
        X, y = validate_data(self, X, y, dtype=[np.float32, np.uint8])
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.network_ = Network(
            [X.shape[1], *self.hidden_layer_sizes, len(self.classes_)],
            rule=self.rule,
            device=self.device,
            threads=self.threads,
            seed=seed,
            lr=self.lr,
            activation=self.activation,
            bias=self.bias,
            loss=self.loss,
            optimizer=self.optimizer,
            **(self.options or {}),
        )
        self.network_.fit(X, labels, epochs=self.epochs, batch=min(self.batch, len(X)))
        self.n_iter_ = self.epochs
        return self

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self.network_.predict(validate_data(self, X, reset=False, dtype=[np.float32, np.uint8]))

    def predict(self, X: Any) -> np.ndarray:
        """The predicted class of each sample."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Softmax of the outputs, [samples, classes]. The values are probabilities if trained with ``loss="cross-entropy"``."""
        outputs = self._outputs(X).astype(np.float64)
        powers = np.exp(outputs - outputs.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)
