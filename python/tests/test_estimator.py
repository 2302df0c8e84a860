"""The classifier and the regressor for scikit-learn."""

import pickle

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from sklearn.datasets import load_diabetes, load_digits, load_iris  # noqa: E402
from sklearn.metrics import r2_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402
from zilch_pc import Network, ZilchClassifier, ZilchRegressor, errors  # noqa: E402


@parametrize_with_checks([ZilchClassifier(random_state=0), ZilchRegressor(random_state=0)])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_pipeline_in_a_grid_search():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    pipeline = make_pipeline(StandardScaler(), ZilchClassifier((16,), random_state=0))
    grid = {"zilchclassifier__rule": ["zil", "bp", "fa"], "zilchclassifier__learning_rate_init": [0.002, 0.01]}
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2)
    search.fit(x, names)
    assert search.best_score_ > 0.9 and set(search.predict(x)) == set(names)
    scores = search.cv_results_["mean_test_score"].reshape(2, 3)
    rules = [p["zilchclassifier__rule"] for p in search.cv_results_["params"][:3]]
    by = dict(zip(rules, scores.T.tolist()))
    assert by["zil"] == by["bp"]


def test_it_classifies_digits_and_is_a_network():
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, random_state=0)
    classifier = ZilchClassifier(random_state=1).fit(x, y)
    assert classifier.score(x_test, y_test) > 0.9
    shares = classifier.predict_proba(x_test)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert (classifier.classes_[shares.argmax(1)] == classifier.predict(x_test)).all()
    assert isinstance(classifier.network_, Network)
    thawed = pickle.loads(pickle.dumps(classifier))
    assert (thawed.predict_proba(x_test) == shares).all()
    assert (ZilchClassifier(random_state=1, rule="bp").fit(x, y).predict_proba(x_test) == shares).all()
    settling = ZilchClassifier(rule="il", loss="squared", options={"gamma": 0.1, "steps": 10}, random_state=0)
    assert cross_val_score(settling, x, y, cv=2).mean() > 0.8


def test_a_regressor_predicts_numbers():
    x, y = load_diabetes(return_X_y=True)
    x, x_test, y, y_test = train_test_split(StandardScaler().fit_transform(x), y, random_state=0)
    regressor = ZilchRegressor((16,), max_iter=40, learning_rate_init=0.002, random_state=0).fit(x, y)
    assert regressor.score(x_test, y_test) > 0.3
    assert regressor.score(x_test, y_test) == pytest.approx(r2_score(y_test, regressor.predict(x_test)))
    assert regressor.predict(x_test).shape == y_test.shape
    # Targets are scaled, so that their units do not matter.
    other = ZilchRegressor((16,), max_iter=40, learning_rate_init=0.002, random_state=0).fit(x, 1000 * y + 7)
    np.testing.assert_allclose(other.predict(x_test), 1000 * regressor.predict(x_test) + 7, rtol=1e-3)
    two = ZilchRegressor((16,), max_iter=5, random_state=0).fit(x, np.stack([y, -y], 1))
    assert two.predict(x_test).shape == (len(x_test), 2) and two.n_outputs_ == 2
    same = ZilchRegressor((16,), rule="bp", max_iter=40, learning_rate_init=0.002, random_state=0).fit(x, y)
    assert (same.predict(x_test) == regressor.predict(x_test)).all()
    constant = ZilchRegressor((4,), max_iter=2, random_state=0).fit(x, np.full(len(x), 3.0))
    assert np.isfinite(constant.predict(x_test)).all()


def test_the_names_are_those_of_scikit_learn():
    # What a network does not have: an L2 penalty per sample, and the settings of single solvers.
    missing = {"alpha", "learning_rate", "power_t", "tol", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon", "max_fun"}
    for ours, theirs in ((ZilchClassifier, MLPClassifier), (ZilchRegressor, MLPRegressor)):
        own = set(ours().get_params()) - set(theirs().get_params())
        assert own == {"rule", "bias", "device", "threads", "options"} | ({"loss"} - set(theirs().get_params()))
        assert set(theirs().get_params()) - set(ours().get_params()) == missing


def test_partial_fit_is_a_pass():
    x, y = load_iris(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    whole = ZilchClassifier((8,), max_iter=3, random_state=0).fit(x, names)
    parts = ZilchClassifier((8,), random_state=0)
    with pytest.raises(errors.UsageError, match="classes"):
        parts.partial_fit(x, names)
    for _ in range(3):
        parts.partial_fit(x, names, classes=np.unique(names))
    assert whole.network_.sha256 == parts.network_.sha256 and parts.n_iter_ == 3
    # A part without some of the classes.
    parts.partial_fit(x[:40], names[:40])
    assert list(parts.classes_) == ["setosa", "versicolor", "virginica"]
    with pytest.raises(errors.UsageError, match="has the class"):
        parts.partial_fit(x[:2], ["rose", "setosa"])
    with pytest.raises(errors.UsageError, match="first call"):
        parts.partial_fit(x[:2], names[:2], classes=["rose", "setosa"])
    numbers = ZilchRegressor((8,), max_iter=2, random_state=0).fit(x, x[:, 0])
    steps = ZilchRegressor((8,), random_state=0).partial_fit(x, x[:, 0]).partial_fit(x, x[:, 0])
    assert numbers.network_.sha256 == steps.network_.sha256
    with pytest.raises(errors.UsageError, match="outputs"):
        steps.partial_fit(x, x)


def test_the_curve_of_losses_and_early_stopping(capsys):
    x, y = load_digits(return_X_y=True)
    x = x[:600] / 16
    y = y[:600]
    classifier = ZilchClassifier(max_iter=4, random_state=0, verbose=2).fit(x, y)
    assert len(classifier.loss_curve_) == classifier.n_iter_ == 4 and classifier.loss_ == classifier.loss_curve_[-1]
    assert classifier.loss_curve_[-1] < classifier.loss_curve_[0] and classifier.t_ == 4 * 12
    assert len(capsys.readouterr().out.splitlines()) == 2
    warm = ZilchClassifier(max_iter=2, random_state=0, warm_start=True)
    warm.fit(x, y).fit(x, y)
    assert warm.network_.sha256 == classifier.network_.sha256 and warm.n_iter_ == 4
    stopped = ZilchClassifier(max_iter=200, random_state=0, early_stopping=True, n_iter_no_change=3).fit(x, y)
    assert stopped.n_iter_ < 200 and len(stopped.validation_loss_curve_) == stopped.n_iter_
    best = stopped.network_.best
    assert all((stopped.network_.weights[name] == found).all() for name, found in best["weights"].items())
    assert best["epoch"] == stopped.n_iter_ - 3
