# %% [markdown]
# # Train a network of your own data
#
# From a CSV file to a model on disk: read, split, scale, train, judge, save. The file here is scikit-learn's wine data, written out first as if
# it were yours: 178 wines, 13 measurements, 3 growers.
# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import zilch_pc
from zilch_pc import ZilchClassifier, ZilchRegressor

folder = Path(tempfile.mkdtemp())
wines = load_wine(as_frame=True)
names = np.array(["Barolo", "Grignolino", "Barbera"])
wines.frame.assign(target=names[wines.target]).to_csv(folder / "wines.csv", index=False)
# %%
table = pd.read_csv(folder / "wines.csv")
table.iloc[::60, [0, 1, 6, 12, 13]]
# %% [markdown]
# ## Classes
#
# Columns have different units, so they are scaled to mean 0 and deviation 1, by the training samples alone: that is what the pipeline is for.
# %%
x, y = table.drop(columns="target"), table["target"]
x, x_test, y, y_test = train_test_split(x, y, stratify=y, random_state=0)
model = make_pipeline(StandardScaler(), ZilchClassifier((16,), loss="cross-entropy", max_iter=200, random_state=0))
model.fit(x, y)
f"{model.score(x_test, y_test):.1%} of test wines", dict(zip(model[-1].classes_, model.predict_proba(x_test)[0].round(3).tolist()))
# %% [markdown]
# ## Which settings?
#
# The rule is a setting like any other.
# %%
grid = {"zilchclassifier__rule": ["zil", "bp", "il"], "zilchclassifier__learning_rate_init": [0.001, 0.005]}
search = GridSearchCV(model, grid, cv=4).fit(x, y)
scores = pd.DataFrame(search.cv_results_)[["param_zilchclassifier__rule", "param_zilchclassifier__learning_rate_init", "mean_test_score"]]
scores.set_axis(["rule", "learning rate", "accuracy"], axis=1).round(3)
# %% [markdown]
# ## Numbers
#
# One measurement from the others: the alcohol of a wine. `score` is R² here.
# %%
a, b = x.drop(columns="alcohol"), x_test.drop(columns="alcohol")
regressor = make_pipeline(StandardScaler(), ZilchRegressor((16,), max_iter=80, learning_rate_init=0.002, random_state=0))
regressor.fit(a, x["alcohol"])
f"R² = {regressor.score(b, x_test['alcohol']):.2f}"
# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2))
axes[0].plot(model[-1].loss_curve_, label="classifier")
axes[0].plot(regressor[-1].loss_curve_, label="regressor")
axes[0].set(xlabel="pass over the data", ylabel="loss", ylim=(0, None))
axes[0].legend(frameon=False)
axes[1].plot(x_test["alcohol"], regressor.predict(b), "o")
axes[1].axline((13, 13), slope=1, color="grey", linewidth=1)
axes[1].set(xlabel="alcohol, %", ylabel="predicted")
figure.tight_layout()
figure.savefig("7_own_data.png", dpi=110)
# %% [markdown]
# ## Keep it
#
# The network is in `network_`. A `.safetensors` file is read by `zilch eval` too, and numpy reads `.npz`.
# %%
network = model[-1].network_
network.save(folder / "wines.npz")
again = zilch_pc.load(folder / "wines.npz", device="cpu")
scaled = model[0].transform(x_test).astype(np.float32)
bool((again.predict(scaled) == network.predict(scaled)).all()), sorted(path.name for path in folder.iterdir())
