# %% [markdown]
# # Which rule made this network?
#
# Networks that classify equally well may be made in different ways. Here a classifier sees a network's weights before and after its last
# epoch, as simple statistics of each layer, and has to name the rule that made it.
# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from zilch_pc import Network, digits

RULES, SEEDS = ["bp", "il", "fa", "dfa", "kp", "usf"], 16  # one rate for all, so that it gives nothing away
(x, y), (x_test, y_test) = digits()


def features(rule, seed):
    network = Network([784, 32, 32, 10], rule, preset="paper", lr=0.003, seed=seed, device="cpu").fit(x, y, epochs=4)
    before = network.weights
    network.fit(x, y)
    after, found = network.weights, []
    for name in before:
        w, change = after[name].astype(float), after[name].astype(float) - before[name]
        values = np.linalg.svd(change, compute_uv=False)
        rank = values.sum() ** 2 / (values**2).sum()
        along = (w * change).sum() / np.linalg.norm(w) / (np.linalg.norm(change) + 1e-12)
        found += [np.log(np.linalg.norm(change) + 1e-12), rank, along, np.log(np.linalg.norm(w)), (change > 0).mean()]
    return found, network.score(x_test, y_test)


rows = [(rule, *features(rule, seed)) for rule in RULES for seed in range(SEEDS)]
names, table, scores = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows])
{rule: f"{scores[names == rule].mean():.1%} of test digits" for rule in RULES}
# %%
forest = RandomForestClassifier(400, random_state=0)
guessed = cross_val_predict(forest, table, names, cv=StratifiedKFold(4, shuffle=True, random_state=0))
f"{(guessed == names).mean():.0%} named rightly; {1 / len(RULES):.0%} by chance"
# %%
figure, axes = plt.subplots(figsize=(4.5, 4))
ConfusionMatrixDisplay.from_predictions(names, guessed, labels=RULES, ax=axes, colorbar=False, cmap="Blues")
axes.set(xlabel="named", ylabel="made by")
figure.savefig("4_which_rule.png", dpi=110, bbox_inches="tight")
# %% [markdown]
# ## What gives them away
# %%
what = [f"θ{l} {name}" for l in (1, 2, 3) for name in ("|Δ|", "rank of Δ", "angle θ, Δ", "|θ|", "share Δ > 0")]
weight = forest.fit(table, names).feature_importances_
best = np.argsort(weight)[-8:]
figure, axes = plt.subplots(figsize=(6, 2.8))
axes.barh([what[i] for i in best], weight[best])
axes.set(xlabel="importance in the forest");
# %% [markdown]
# The control: Z-IL leaves backpropagation's bits, so that no classifier whatever can tell the two apart.
# %%
features("zil", 3) == features("bp", 3)
