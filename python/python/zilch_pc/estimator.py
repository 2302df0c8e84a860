"""A classifier for scikit-learn: grid search, pipelines, cross-validation."""

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
    """A network that learns to classify by a rule.

    Parameters
    ----------
    hidden_layer_sizes
        Units of the hidden layers, the input's side first.
    rule, lr, activation, bias, loss, optimizer, device, threads
        As in :class:`~zilch_pc.Network`. Some rules have an error of their own and take no ``loss="cross-entropy"``.
    epochs, batch
        Passes over the samples; samples of one update, or all of them where they are fewer.
    options
        Further options of the rule: ``{"gamma": 0.1, "steps": 20}``.
    random_state
        Seed of the initial weights and the order of samples.

    ``X`` of uint8 means pixels, which are divided by 255; scale anything else yourself, as by ``StandardScaler``.
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
        """Learns from X [samples, features] and labels y [samples] of any kind."""
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
        """The class of each sample."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Softmax of the outputs, [samples, classes]. They are probabilities after ``loss="cross-entropy"``."""
        outputs = self._outputs(X).astype(np.float64)
        powers = np.exp(outputs - outputs.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)
