"""
A codebook of digits
====================

Here the latents are the digits' own pixels, so that codewords can be looked at without a decoder.
``'mean'`` gives the mean of each cell, ``'medoid'`` the image in its middle.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import geoquant as gq
from geoquant.quality import majority_vote_accuracy, perplexity

digits = load_digits()
fitted = {
    kind: gq.fit_codebook(digits.data, 30, codewords=kind, random_state=0)
    for kind in ("mean", "medoid")
}

# %%
# How evenly are the codes used, and how well do they tell the digit?

for kind, fit in fitted.items():
    told = majority_vote_accuracy(fit.codes, digits.target, fit.codes, digits.target)
    print(f"{kind}: perplexity {perplexity(fit.codes, 30):.1f} of 30, digit told {told:.0%}")

# %%
# Codewords in the order of the digit that most images of the cell show.


def rows_of_images(fit):
    shown = [np.bincount(digits.target[fit.codes == code]).argmax() for code in range(30)]
    images = fit.codebook.vectors[np.argsort(shown, kind="stable")].reshape(30, 8, 8)
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1))).reshape(3, 10, 10, 10)
    return framed.transpose(0, 2, 1, 3).reshape(30, 100)


figure, axes = plt.subplots(2, 1, figsize=(8, 5.4), layout="constrained")
for ax, (kind, fit) in zip(axes, fitted.items(), strict=True):
    ax.imshow(rows_of_images(fit), cmap="gray_r")
    ax.set_title(f"codewords={kind!r}")
    ax.set_axis_off()
plt.show()
