"""
Several codes for each latent
=============================

One code out of 64 says little about an image. Several stages, each fitted to what the ones before
leave, say more with every code. Euclidean stages leave less squared error; geodesic ones follow
the data, which shows in the first code.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import geoquant as gq

digits = load_digits().data
n_stages = 6
fits = {
    metric: gq.fit_multistage(digits, 32, n_stages, metric=metric, random_state=0)
    for metric in ("geodesic", "euclidean")
}
print(fits["geodesic"].codes[:2])

# %%
# What is left after each stage, as it was fitted; afterwards all stages were fitted together, which
# lowers the last point a little. Beside it, images as they come back from fewer and fewer codes.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.4), width_ratios=[2, 3], layout="constrained"
)
for metric, style in (("geodesic", "o-"), ("euclidean", "s--")):
    left.plot(range(1, n_stages + 1), fits[metric].distortion, style, label=metric)
left.set(xlabel="stages", ylabel="mean squared distance", ylim=(0, None))
left.legend()


def after_each_stage(book, codes):
    parts = [stage.vectors[code] for stage, code in zip(book.stages, codes, strict=True)]
    return np.cumsum(parts, axis=0)


fit = fits["euclidean"]
shown = [0, 1, 2, 3]
rows = [np.vstack([digits[i], after_each_stage(fit.codebook, fit.codes[i])[::-1]]) for i in shown]
images = np.pad(np.reshape(rows, (len(shown), -1, 8, 8)), ((0, 0), (0, 0), (1, 1), (1, 1)))
page = images.transpose(0, 2, 1, 3).reshape(10 * len(shown), -1)
right.imshow(page, cmap="gray_r", vmin=0, vmax=16)
right.set_title("images, and what 6, 5, 4, 3, 2, 1 codes make of them")
right.set_axis_off()
plt.show()
