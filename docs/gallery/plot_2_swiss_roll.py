"""
A path along a rolled-up sheet
==============================

A sheet is rolled up in three dimensions. The graph of nearest neighbours knows the sheet, so its
cells are patches of it, and the shortest path between two points stays on it; the chord cuts
through.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_swiss_roll

import geoquant as gq

x, along = make_swiss_roll(2000, random_state=0)
est = gq.GeodesicKMeans(14, random_state=0).fit(x)

# %%
# From the innermost point to one on the outermost turn that is near it in a straight line.

start = int(along.argmin())
outer = np.flatnonzero(along > 12)
end = int(outer[np.linalg.norm(x[outer] - x[start], axis=1).argmin()])
path = gq.path_between(est.graph_, start, end)
along_the_data = np.linalg.norm(np.diff(x[path], axis=0), axis=1).sum()
straight = np.linalg.norm(x[end] - x[start])
print(f"straight {straight:.1f}, along the data {along_the_data:.1f}")

# %%
figure = plt.figure(figsize=(7, 5))
ax = figure.add_subplot(projection="3d")
colours = plt.get_cmap("tab20")(est.labels_)
ax.scatter(*x.T, c=colours, s=14, linewidths=0)
ax.plot(
    *x[path].T, color="black", linewidth=3, zorder=5, label=f"along the data: {along_the_data:.1f}"
)
ax.plot(*x[[start, end]].T, "k--", linewidth=2, zorder=5, label=f"straight: {straight:.1f}")
ax.view_init(elev=8, azim=-82)
ax.set_box_aspect(np.ptp(x, axis=0), zoom=1.5)
ax.set_axis_off()
figure.legend(loc="upper left", frameon=False)
plt.show()
