# %% [markdown]
# # One update, step by step
#
# What happens in one weight update of predictive coding: a prediction, errors that climb from the output, and a change of every weight that
# needs only what is at its two ends. Everything is read back as arrays and computed again by numpy. The rule is Z-IL, with the settings of the
# paper: sigmoid units, no biases, plain steps. Layer 0 is the output.
# %%
import matplotlib.pyplot as plt
import numpy as np

from zilch_pc import Network, digits

(x, y), (x_test, y_test) = digits()
network = Network([784, 16, 12, 10], rule="zil", preset="paper", lr=0.01, seed=1, device="cpu")
batch, labels = x[:20], y[:20]
network
# %% [markdown]
# ## 1. The prediction
#
# `infer` shows the value nodes x and the predictions μ of a network that sees an image and no label. Nothing is learned. Each layer predicts
# the next: μ^l = θ^{l+1} f(x^{l+1}), and without a label every x^l is what is predicted.
# %%
seen = network.infer(batch)
f = lambda v: 1 / (1 + np.exp(-v))
by_hand = f(seen.x[1]) @ network.weights["theta.1"].T
{"x": {l: v.shape for l, v in seen.x.items()}, "μ⁰ by hand differs by": float(np.abs(by_hand - seen.mu[0]).max())}
# %% [markdown]
# ## 2. The errors
#
# `activity` makes the update with labels, and forgets it. At t = 0 the output is held to the label, and only there is an error, ε⁰ = x⁰ − μ⁰.
# Inference moves x¹, so that at t = 1 there is an error one layer further, and so on.
# %%
activity = network.activity(batch, labels, times=True)
size = {t: {f"ε{l}": float(np.abs(e).mean()) for l, e in slots["eps"].items()} for t, slots in activity.times.items()}
target = np.eye(10)[labels]
size, float(np.abs((target - seen.mu[0]) - activity.times[0]["eps"][0]).max())
# %%
figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), width_ratios=[10, 12, 12])
for axis, l, t in zip(axes, (0, 1, 2), (0, 1, 2)):
    eps = activity.times[t]["eps"][l][:8]
    most = np.abs(eps).max()
    axis.imshow(eps, cmap="PuOr", vmin=-most, vmax=most, aspect="auto")
    axis.set(title=f"ε{'⁰¹²'[l]} at t = {t}, ± {most:.1g}", xlabel="unit", yticks=[])
axes[0].set_ylabel("8 digits")
figure.tight_layout()
figure.savefig("0_one_update.png", dpi=110)
# %% [markdown]
# ## 3. The weights
#
# When the error arrives at a layer, the weights below it learn: Δθ^{l+1} = α ε^l f(x^{l+1})ᵀ. That is what `step` does for good.
# %%
before = network.weights
step = network.step(batch, labels)
change = step.weights["theta.1"] - before["theta.1"]
rule = 0.01 * activity.times[0]["eps"][0].T @ f(seen.x[1])
{"largest change": float(np.abs(change).max()), "α ε f(x)ᵀ differs by": float(np.abs(change - rule).max())}
# %% [markdown]
# ## 4. The same bits as backpropagation
# %%
other = Network([784, 16, 12, 10], rule="bp", preset="paper", lr=0.01, seed=1, device="cpu")
other.step(batch, labels)
other.sha256 == network.sha256
