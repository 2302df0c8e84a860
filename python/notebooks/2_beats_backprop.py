# %% [markdown]
# # Where predictive coding beats backpropagation
#
# A network that settles before it learns does better where examples are few or come one at a time (Song et al., Nature Neuroscience 2024).
# Here 2,000 synthetic digits are shown, one at a time, to 784-32-32-10: by backpropagation (`bp`), and by inference learning (`il`) that takes 63
# steps of inference before each update. Each rule gets the rate that does best on images which are neither learned from nor tested on.
# %%
import matplotlib.pyplot as plt
import numpy as np

from zilch_pc import Network, digits

(x, y), (x_test, y_test) = digits()
held = slice(len(x) - 500, None)
RULES = {"bp": {}, "il": {"gamma": 0.1, "discount": 0.5, "steps": 63}}
RATES = [0.025, 0.05, 0.1, 0.2, 0.4]


def errors(rule, lr, seed, x_judge, y_judge, rounds=20, images=100):
    """The error after each round of so many images, one at a time."""
    random = np.random.default_rng(seed)
    network = Network([784, 32, 32, 10], rule, preset="paper", lr=lr, seed=seed, init="xavier", device="cpu", threads=1, **RULES[rule])
    found = []
    for _ in range(rounds):
        shown = random.integers(0, len(x) - 500, images)
        network.fit(x[shown], y[shown], batch=1)
        found.append(1 - network.score(x_judge, y_judge))
    return np.array(found)


len(x) - 500, len(x[held]), len(x_test)
# %% [markdown]
# ## The rate of each, by images held back
# %%
tried = {rule: [np.mean([errors(rule, lr, 100 + s, x[held], y[held])[-1] for s in range(3)]) for lr in RATES] for rule in RULES}
best = {rule: RATES[int(np.argmin(found))] for rule, found in tried.items()}
{rule: {lr: f"{e:.1%}" for lr, e in zip(RATES, found)} for rule, found in tried.items()}, best
# %% [markdown]
# ## New seeds, and the test images
# Bands and ± are the sample standard deviation over seeds.
# %%
SEEDS = 12
curves = {rule: np.array([errors(rule, best[rule], seed, x_test, y_test) for seed in range(SEEDS)]) for rule in RULES}
figure, axes = plt.subplots(figsize=(6, 3.2))
shown = np.arange(1, 21) * 100
for rule, label in (("bp", "backpropagation"), ("il", "predictive coding")):
    mean, sd = curves[rule].mean(0), curves[rule].std(0, ddof=1)
    axes.plot(shown, mean, label=f"{label}, rate {best[rule]}")
    axes.fill_between(shown, mean - sd, mean + sd, alpha=0.2)
axes.set(xlabel="images shown, one at a time", ylabel=f"test error, {SEEDS} seeds")
axes.legend(frameon=False)
figure.savefig("2_beats_backprop.png", dpi=110, bbox_inches="tight")
# %%
{rule: f"{c[:, -1].mean():.1%} ± {c[:, -1].std(ddof=1):.1%} at the end, {c.mean():.1%} over all rounds" for rule, c in curves.items()}
# %% [markdown]
# Both rules start from the same weights and see the same images, seed by seed: the difference, and its standard error.
# %%
less = curves["bp"].mean(1) - curves["il"].mean(1)
f"{less.mean():.1%} less error over all rounds, with a standard error of {less.std(ddof=1) / SEEDS**0.5:.1%}; predictive coding is better with {(less > 0).sum()} of {SEEDS} seeds"
# %% [markdown]
# The control: with large batches and many passes over the same images there is little between the two, and backpropagation is quicker.
# %%
def rounds(rule, lr):
    network = Network([784, 32, 32, 10], rule, preset="paper", lr=lr, seed=0, init="xavier", device="cpu", **RULES[rule])
    network.fit(x, y, epochs=20)
    return f"{1 - network.score(x_test, y_test):.1%} in {network.history[-1]['seconds']:.1f} s"


{rule: {lr: rounds(rule, lr) for lr in (0.01, 0.03)} for rule in RULES}
