# %% [markdown]
# # Looking inside a trained network
#
# What the units of a network have learned: the images that excite them, how they tell digits apart, and what is lost when a layer is frozen
# at its random start.
# %%
import matplotlib.pyplot as plt
import numpy as np

from zilch_pc import Network, digits

(x, y), (x_test, y_test) = digits()
EPOCHS = 6
make = lambda **options: Network([784, 24, 16, 10], "il", device="cpu", **options)
network = make()
start = network.weights
network.fit(x, y, epochs=EPOCHS)
f"{network.score(x_test, y_test):.1%} of test digits"
# %% [markdown]
# ## What a unit looks for
#
# What learning has added to the input weights of each unit, as an image: purple excites the unit, orange inhibits it.
# %%
learned = network.weights["theta.3"] - start["theta.3"]
figure, axes = plt.subplots(2, 8, figsize=(7, 1.9))
for image, axis in zip(learned, axes.flat):
    most = np.abs(image).max()
    axis.imshow(image.reshape(28, 28), cmap="PuOr", vmin=-most, vmax=most)
    axis.set_axis_off()
figure.tight_layout()
figure.savefig("5_looking_inside.png", dpi=110)
# %% [markdown]
# ## How digits lie in a layer
#
# `infer` reads the value nodes for new images. How alike are the mean activities of two digits, in the hidden layer next to the input (2)
# and in the one next to the output (1)?
# %%
seen = network.infer(x_test)
figure, axes = plt.subplots(1, 2, figsize=(7, 3.2))
for axis, l in zip(axes, (2, 1)):
    means = np.stack([np.tanh(seen.x[l])[y_test == digit].mean(0) for digit in range(10)])
    image = axis.imshow(np.corrcoef(means), cmap="PuOr_r", vmin=-1, vmax=1)
    axis.set(title=f"layer {l}", xlabel="digit", xticks=range(10), yticks=range(10))
figure.colorbar(image, ax=axes, label="correlation");
# %% [markdown]
# ## What a layer contributes
#
# `freeze` keeps weights and biases as they are: here those of one layer at its random start. Layer l of weights is θ^l, 1 at the output.
# %%
score = {"none": network.score(x_test, y_test)}
for l in (1, 2, 3):
    frozen = make(freeze=l)
    frozen.fit(x, y, epochs=EPOCHS)
    assert (frozen.weights[f"theta.{l}"] == start[f"theta.{l}"]).all()
    score[f"θ{'¹²³'[l - 1]}"] = frozen.score(x_test, y_test)
{name: f"{value:.1%}" for name, value in score.items()}
