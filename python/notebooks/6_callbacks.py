# %% [markdown]
# # Watching a training: callbacks, TensorBoard, Weights & Biases
#
# A callback is a function of the network and a row of measurements, called after each epoch. Some are ready: a progress bar, writers for
# TensorBoard and for Weights & Biases, a schedule of the learning rate. Nothing here needs the internet.
# %%
import importlib.util
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from zilch_pc import Network, digits
from zilch_pc.callbacks import LearningRate, TensorBoard, WandB

(x, y), (x_test, y_test) = digits()
EPOCHS = 8
folder = Path(tempfile.mkdtemp())
# %% [markdown]
# ## A callback of your own
#
# It reads what it likes, and may change the network. If it returns something true, the training ends.
# %%
norms = []


def watch(network, row):
    norms.append([float(np.linalg.norm(network.weights[f"theta.{l}"])) for l in (3, 2, 1)])
    return row["validation_error"] == 0


# %% [markdown]
# ## TensorBoard and Weights & Biases
#
# Both get losses, errors and the learning rate of every epoch. `tensorboard --logdir FOLDER` shows the first; `wandb sync` uploads the second,
# which is in offline mode until you say otherwise. A writer that is not installed is left out here.
# %%
callbacks = [watch, LearningRate(lambda epoch: 0.003 * 0.8**epoch)]
if importlib.util.find_spec("tensorboardX"):
    callbacks.append(TensorBoard(folder / "tensorboard", histograms=True))
if importlib.util.find_spec("wandb"):
    callbacks.append(WandB("zilch", dir=str(folder)))
network = Network([784, 32, 32, 10], device="cpu")
network.fit(x, y, epochs=EPOCHS, validation=(x_test, y_test), callback=callbacks)
sorted({path.parts[len(folder.parts)] for path in folder.rglob("*")})
# %% [markdown]
# ## The history
#
# The same rows are in `network.history`.
# %%
epochs = [row["epoch"] for row in network.history]
figure, axes = plt.subplots(1, 2, figsize=(8, 3))
for key, label in (("train_error", "training digits"), ("validation_error", "test digits")):
    axes[0].plot(epochs, [row[key] for row in network.history], "o-", label=label)
axes[0].set(xlabel="epoch", ylabel="error", ylim=(0, None))
axes[0].legend(frameon=False)
for l, values in zip((3, 2, 1), np.array(norms).T):
    axes[1].plot(epochs, values / values[0], "o-", label=f"θ{'¹²³'[l - 1]}")
axes[1].set(xlabel="epoch", ylabel="|θ|, relative to epoch 1")
axes[1].legend(frameon=False)
figure.tight_layout()
figure.savefig("6_callbacks.png", dpi=110)
# %%
f"the learning rate is {network.lr:.2g} after {network.epochs} epochs"
