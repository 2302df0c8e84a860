"""Estimators for scikit-learn: a classifier and a regressor, for grid search, pipelines and cross-validation.

Parameters and attributes that scikit-learn's ``MLPClassifier`` and ``MLPRegressor`` have are called as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from . import _core
from ._defaults import ESTIMATOR, epochs_for
from .errors import UsageError
from .network import Network
from .rules import Rule

_TYPES = [np.float32, np.uint8]


class _Estimator(BaseEstimator):
    """What the classifier and the regressor share."""

    network_: Network

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | None = ESTIMATOR.hidden_layer_sizes,
        rule: str | Rule = ESTIMATOR.rule,
        *,
        activation: str | None = None,
        solver: str | None = ESTIMATOR.solver,
        learning_rate_init: float | None = ESTIMATOR.learning_rate_init,
        batch_size: int | None = ESTIMATOR.batch_size,
        max_iter: int | None = ESTIMATOR.max_iter,
        shuffle: bool = True,
        random_state: Any = None,
        verbose: bool | int = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        bias: bool | None = ESTIMATOR.bias,
        loss: str | None = ESTIMATOR.loss,
        device: str = ESTIMATOR.device,
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.rule = rule
        self.activation = activation
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.bias = bias
        self.loss = loss
        self.device = device
        self.threads = threads
        self.options = options

    def _make(self, outputs: int) -> None:
        """The network before its first update."""
        hidden = self.hidden_layer_sizes
        self.network_ = Network(
            [self.n_features_in_, *(_core.hidden(self.rule) if hidden is None else hidden), outputs],
            rule=self.rule,
            device=self.device,
            threads=self.threads,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            lr=self.learning_rate_init,
            activation=self.activation,
            bias=self.bias,
            loss=self.loss,
            optimizer=self.solver,
            **(self.options or {}),
        )

    def _train(self, X: np.ndarray, y: np.ndarray, epochs: int | None) -> None:
        """Trains the network on labels or targets y, and sets the attributes of the training."""
        validation, patience = None, None
        if self.early_stopping:
            labels = y if y.ndim == 1 else None
            X, held, y, wanted = self._split(X, y, labels)
            validation, patience = (held, wanted), self.n_iter_no_change
        network, before = self.network_, len(self.network_.history)
        batch = min(network.batch if self.batch_size is None else self.batch_size, len(X))
        network.fit(
            X,
            y,
            epochs=epochs_for(len(X), batch) if epochs is None else epochs,
            batch=batch,
            shuffle=self.shuffle,
            validation=validation,
            patience=patience,
            verbose=self.verbose,
        )
        if network.best is not None:
            network.weights = network.best["weights"]
        rows = network.history
        self.n_iter_ = len(rows)
        self.t_ = network.updates
        #: The loss on the training data after each epoch.
        self.loss_curve_ = [row["train_loss"] for row in rows]
        self.loss_ = self.loss_curve_[-1] if rows else None
        self.best_loss_ = None if self.early_stopping else min(self.loss_curve_, default=None)
        self.validation_loss_curve_ = [row["validation_loss"] for row in rows[before:]] if self.early_stopping else None

    def _split(self, X: np.ndarray, y: np.ndarray, labels: np.ndarray | None) -> list[np.ndarray]:
        """Held-out samples for early stopping; of each class the same share, where there are enough samples."""
        settings: dict[str, Any] = {"test_size": self.validation_fraction, "random_state": self.network_.seed}
        if labels is not None:
            try:
                return train_test_split(X, y, stratify=labels, **settings)
            except ValueError:
                # Too few samples of a class.
                pass
        return train_test_split(X, y, **settings)

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self.network_.predict(validate_data(self, X, reset=False, dtype=_TYPES))

    def _is_new(self) -> bool:
        return not hasattr(self, "network_")


class ZilchClassifier(ClassifierMixin, _Estimator):
    """A network that is trained by a rule to classify.

    Parameters
    ----------
    hidden_layer_sizes
        Units of the hidden layers, the one next to the input first.
    rule, activation, bias, loss, device, threads
        As in :class:`~zilch_pc.Network`. Some rules define their own error and support only ``loss="squared"``.
    solver, learning_rate_init
        ``optimizer`` and ``lr`` of :class:`~zilch_pc.Network`.
    batch_size, max_iter, shuffle
        Samples per update, reduced to the number of samples if there are fewer; passes over the samples; whether each pass has its own
        random order.
    hidden_layer_sizes, solver, learning_rate_init, batch_size, activation, bias, loss = None
        The recommended value for the rule, as on the command line.
    max_iter = None
        10 passes as on the command line, and more for small sets: at least 2400 updates.
    random_state
        Seed of the initial weights and of the order of samples.
    verbose
        Whether to print a line per pass; a number n prints one line per n passes.
    warm_start
        Whether :meth:`fit` continues with the weights of the last call.
    early_stopping, validation_fraction, n_iter_no_change
        Whether to hold out this fraction of the samples and to stop after so many passes without improvement on them. The weights are
        then those of the best pass.
    options
        Further options of the network: ``{"gamma": 0.1, "steps": 20}``.

    Attributes
    ----------
    network_
        The trained :class:`~zilch_pc.Network`.
    classes_
        The classes, in the order of the outputs.
    loss_curve_, loss_, best_loss_, n_iter_, t_
        The loss on the training data after each pass, the last and the least; the number of passes, and of updates.

    ``X`` of uint8 means pixels, which are divided by 255. Scale any other input first, for instance by ``StandardScaler``.
    """

    def fit(self, X: Any, y: Any) -> ZilchClassifier:
        """Trains on X [samples, features] and labels y [samples] of any type."""
        again = self.warm_start and not self._is_new()
        X, y = validate_data(self, X, y, dtype=_TYPES, reset=not again)
        check_classification_targets(y)
        if again:
            return self._learn(X, y, self.max_iter)
        self.classes_ = np.unique(y)
        self._make(len(self.classes_))
        return self._learn(X, y, self.max_iter)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> ZilchClassifier:
        """Makes one pass over X and y. The first call needs ``classes``, all classes that y will ever have."""
        first = self._is_new()
        X, y = validate_data(self, X, y, dtype=_TYPES, reset=first)
        check_classification_targets(y)
        if first:
            if classes is None:
                raise UsageError("the first call of partial_fit needs classes: all classes that y will ever have")
            self.classes_ = np.unique(np.asarray(classes))
            self._make(len(self.classes_))
        elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise UsageError(f"classes is {classes!r}, but the first call of partial_fit had {self.classes_!r}")
        return self._learn(X, y, 1)

    def _learn(self, X: np.ndarray, y: np.ndarray, epochs: int | None) -> ZilchClassifier:
        labels = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[labels] != y
        if unknown.any():
            raise UsageError(f"y has the class {y[unknown][0]!r}, but the classes are {self.classes_!r}")
        if len(self.classes_) == 1:
            # A network of one output has no classes: its target is 1.
            self._train(X, np.ones((len(X), 1), dtype=np.float32), epochs)
        else:
            self._train(X, labels, epochs)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The predicted class of each sample."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Softmax of the outputs, [samples, classes]. The values are probabilities if trained with ``loss="cross-entropy"``."""
        outputs = self._outputs(X).astype(np.float64)
        powers = np.exp(outputs - outputs.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)


class ZilchRegressor(RegressorMixin, _Estimator):
    """A network that is trained by a rule to predict numbers.

    The targets are scaled to mean 0 and standard deviation 1 for the training, and predictions are scaled back. Parameters and
    attributes are those of :class:`ZilchClassifier`, without ``classes_``.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> ZilchRegressor:
        """Trains on X [samples, features] and targets y, [samples] or [samples, outputs]."""
        again = self.warm_start and not self._is_new()
        X, y = self._checked(X, y, reset=not again)
        if not again:
            self._begin(y)
        return self._learn(X, y, self.max_iter)

    def partial_fit(self, X: Any, y: Any) -> ZilchRegressor:
        """Makes one pass over X and y. The first call sets the scale of the targets."""
        first = self._is_new()
        X, y = self._checked(X, y, reset=first)
        if first:
            self._begin(y)
        return self._learn(X, y, 1)

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=_TYPES, reset=reset, multi_output=True, y_numeric=True)
        return X, np.asarray(y, dtype=np.float64)

    def _begin(self, y: np.ndarray) -> None:
        self._flat = y.ndim == 1
        y = y.reshape(len(y), -1)
        self.n_outputs_ = y.shape[1]
        self.y_mean_ = y.mean(0)
        deviation = y.std(0)
        self.y_scale_ = np.where(deviation > 0, deviation, 1.0)
        self._make(self.n_outputs_)

    def _learn(self, X: np.ndarray, y: np.ndarray, epochs: int | None) -> ZilchRegressor:
        y = y.reshape(len(y), -1)
        if y.shape[1] != self.n_outputs_:
            raise UsageError(f"y has {y.shape[1]} outputs, but the network has {self.n_outputs_}")
        self._train(X, ((y - self.y_mean_) / self.y_scale_).astype(np.float32), epochs)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The predicted targets, [samples] or [samples, outputs] as y was."""
        outputs = self._outputs(X).astype(np.float64) * self.y_scale_ + self.y_mean_
        return outputs[:, 0] if self._flat else outputs
