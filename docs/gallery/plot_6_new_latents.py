"""
Codes of new latents
====================

A new latent takes the code of the neighbour through which a centre is nearest. It does not depend
on what else is in the batch, and on the latents of the fit it gives their own codes. With
``method="euclidean"`` the nearest codeword is taken instead, which cuts across.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn.datasets import make_moons

import geoquant as gq

x, _ = make_moons(600, noise=0.06, random_state=1)
fitted = gq.fit_codebook(x, 6, random_state=0)
book = fitted.codebook
print("own codes again:", bool((book.assign(x) == fitted.codes).all()))

# %%
# Every point of the plane is given a code.

across, up = np.meshgrid(np.linspace(-1.6, 2.6, 260), np.linspace(-1.1, 1.6, 170))
plane = np.stack([across.ravel(), up.ravel()], axis=1)
colours = ListedColormap(plt.get_cmap("tab10").colors[:6])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, method in zip(axes, ("geodesic", "euclidean"), strict=True):
    codes = book.assign(plane, method=method).reshape(across.shape)
    ax.pcolormesh(across, up, codes, cmap=colours, alpha=0.45, shading="nearest")
    ax.scatter(*x.T, c=book.assign(x, method=method), cmap=colours, s=6)
    ax.scatter(*book.vectors.T, c="black", s=50, edgecolors="white", label="codewords")
    ax.set(title=f'method="{method}"', aspect="equal")
    ax.set_axis_off()
axes[0].legend(loc="lower left")
plt.show()
