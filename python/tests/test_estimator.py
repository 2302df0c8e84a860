"""The classifier for scikit-learn."""

import pickle

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from sklearn.datasets import load_digits, load_iris  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402
from zilch_pc import Network, ZilchClassifier  # noqa: E402


@parametrize_with_checks([ZilchClassifier(random_state=0)])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_pipeline_in_a_grid_search():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    pipeline = make_pipeline(StandardScaler(), ZilchClassifier((16,), epochs=20, random_state=0))
    search = GridSearchCV(pipeline, {"zilchclassifier__rule": ["zil", "bp", "fa"], "zilchclassifier__lr": [0.002, 0.01]}, cv=3, n_jobs=2)
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
