# %% [markdown]
# # Write your own rule
#
# A rule is a function that builds the plan of one weight update on a chain of layers `p`: layer 0 is the output, `p.lmax` the input. The
# plan is data, which the CPU and any GPU run. Here is the whole of feedback alignment (Lillicrap et al. 2016):
# %%
import matplotlib.pyplot as plt
import numpy as np

from zilch_pc import Network, digits, rules
from zilch_pc.rules import s  # what arrives


@rules.rule("my-fa")
def my_fa(p):
    p.predict_all()

    def back(l):
        b = p.feedback(l)  # fixed random weights beside θ^l
        return p.op("back", p.backward(l, b), [(p.eps(l), p.slope(l) * s)])

    p.backward_pass(back)


(x, y), (x_test, y_test) = digits()
mine = Network([784, 64, 32, 10], my_fa, preset="paper", lr=0.003, device="cpu").fit(x, y, epochs=5)
theirs = Network([784, 64, 32, 10], "fa", preset="paper", lr=0.003, device="cpu").fit(x, y, epochs=5)
mine.sha256 == theirs.sha256
# %% [markdown]
# What the rule asks of a brain is read off its plan; ✓ marks what is easier to realise in a brain. No weight is used in both directions
# (`no weight transport`), which is the point of it:
# %%
my_fa.locality()
# %%
rules.locality("bp")
# %% [markdown]
# ## One of nobody's
#
# Errors travel back over fixed random weights, and only those that are large are passed on: an error node is silent below a threshold.
# %%
@rules.rule("silent", options={"threshold": (0.0, 0.0, 1.0)})
def silent(p):
    p.predict_all()
    threshold = p.option("threshold")

    def back(l):
        delta = p.slope(l) * s
        return p.op("back", p.backward(l, p.feedback(l)), [(p.eps(l), rules.select(abs(delta) < threshold, 0, delta))])

    p.backward_pass(back)


thresholds = [0, 0.003, 0.01, 0.03, 0.1, 0.3]
accuracy, quiet = [], []
for threshold in thresholds:
    network = Network([784, 64, 32, 10], silent, preset="paper", lr=0.003, device="cpu", threshold=threshold).fit(x, y, epochs=8)
    accuracy.append(network.score(x_test, y_test))
    step = network.step(x[:200], y[:200])
    quiet.append(np.mean([(step.eps[l] == 0).mean() for l in (1, 2)]))

figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(range(len(thresholds)), accuracy, "o-", label="accuracy on test digits")
axes.plot(range(len(thresholds)), quiet, "s--", label="share of silent error nodes, after 8 epochs")
axes.set(xticks=range(len(thresholds)), xlabel="threshold")
axes.set_xticklabels(thresholds)
axes.legend(frameon=False)
figure.savefig("3_own_rule.png", dpi=110, bbox_inches="tight")
# %%
[(threshold, f"{a:.1%}", f"{q:.0%}") for threshold, a, q in zip(thresholds, accuracy, quiet)]
# %% [markdown]
# With no threshold it is feedback alignment, to the bit:
# %%
Network([784, 64, 32, 10], silent, preset="paper", lr=0.003, device="cpu").fit(x, y, epochs=5).sha256 == theirs.sha256
