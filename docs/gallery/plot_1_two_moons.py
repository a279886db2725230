"""
Geodesic cells and straight ones
================================

Two moons lie close together. KMeans measures straight through the gap between them, so that some
of its cells hold points of both. Distance along the data does not cross the gap: it has to go
round.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import make_moons

import geoquant as gq
from geoquant.report import plot_codes

x, moon = make_moons(1000, noise=0.05, random_state=0)
cells = {
    "KMeans": KMeans(4, n_init=10, random_state=0).fit_predict(x),
    "GeodesicKMeans": gq.GeodesicKMeans(4, random_state=0).fit_predict(x),
}

# %%
# A cell is mixed if it holds points of both moons.


def n_mixed(codes):
    return sum(len(np.unique(moon[codes == code])) > 1 for code in np.unique(codes))


figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, (name, codes) in zip(axes, cells.items(), strict=True):
    plot_codes(x, codes, ax=ax)
    ax.set_title(f"{name}: {n_mixed(codes)} of 4 cells mixed")
    ax.set_axis_off()
plt.show()
