# %% [markdown]
# # Predictive coding equals backpropagation, to the bit
#
# Z-IL is inference learning in which every layer learns at its own moment (Song, Lukasiewicz, Xu & Bogacz, NeurIPS 2020). zilch carries
# the errors as state, so that float32 keeps the theorem exact: after any number of updates the weights have the very bits that
# backpropagation leaves.
# %%
import matplotlib.pyplot as plt
import numpy as np

from zilch_pc import Network, compare, digits

(x, y), (x_test, y_test) = digits()
x.shape, x.dtype, x_test.shape
# %%
networks = {rule: Network([784, 32, 32, 10], rule, preset="paper", lr=0.01, seed=1, device="cpu") for rule in ("bp", "zil", "fazil", "il")}
distance = {rule: [] for rule in networks}
for _ in range(8):
    for network in networks.values():
        network.fit(x, y)
    bp = networks["bp"].weights
    for rule, network in networks.items():
        distance[rule].append(max(np.abs(w - bp[name]).max() for name, w in network.weights.items()))
{rule: (network.sha256[:16], f"{network.score(x_test, y_test):.1%}") for rule, network in networks.items()}
# %% [markdown]
# Three rules, one hash. Plain inference learning (IL) learns as well, but something else:
# %%
figure, axes = plt.subplots(figsize=(6, 3))
for rule, style in (("zil", "o-"), ("fazil", "x--"), ("il", "s-")):
    axes.plot(range(1, 9), distance[rule], style, label=rule)
axes.set(xlabel="epoch", ylabel="largest |θ − θ of backprop|")
axes.set_yscale("symlog", linthresh=1e-4)
axes.legend(frameon=False)
figure.savefig("1_equals_backprop.png", dpi=110, bbox_inches="tight")
# %% [markdown]
# ## Where the errors are, and when
#
# `step(…, times=True)` shows the error nodes ε at every moment t. Layer 0 is the output. The disturbance climbs one layer a moment, and
# a layer learns when it arrives.
# %%
zil, bp = (Network([784, 32, 32, 32, 10], rule, preset="paper", lr=0.01, seed=1, device="cpu") for rule in ("zil", "bp"))
a, b = (network.step(x[:20], y[:20], times=True) for network in (zil, bp))
layers = range(4)
size = np.array([[np.abs(a.times[t]["eps"][l]).mean() if l in a.times[t].get("eps", {}) else 0 for t in a.times] for l in layers])
figure, axes = plt.subplots(figsize=(5, 2.6))
image = axes.imshow(np.log10(size + 1e-12), cmap="Blues", aspect="auto", vmin=-6)
axes.set(xlabel="t", ylabel="layer", yticks=list(layers), xticks=range(len(a.times)))
figure.colorbar(image, label="log10 mean |ε|");
# %%
all(a.weights[name].tobytes() == b.weights[name].tobytes() for name in a.weights)
# %% [markdown]
# ## What it costs
# %%
compare([784, 32, 32, 32, 10], rules=["bp", "il", "zil", "fazil"], seconds=0.3)
