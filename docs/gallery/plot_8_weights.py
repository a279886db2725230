"""
Latents that count more
=======================

``sample_weight`` says how much each latent counts: how often it was seen, or how much it matters.
Codes go where the weight is.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

import geoquant as gq
from geoquant.report import plot_codes

x, moon = make_moons(800, noise=0.06, random_state=0)
weights = {"all alike": np.ones(800), "lower moon 20-fold": np.where(moon == 1, 20.0, 1.0)}

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, (name, weight) in zip(axes, weights.items(), strict=True):
    est = gq.GeodesicKMedoids(8, random_state=0).fit(x, sample_weight=weight)
    below = int((moon[est.medoid_indices_] == 1).sum())
    plot_codes(x, est.labels_, est.medoid_indices_, ax=ax)
    ax.set_title(f"{name}: {below} of 8 codes below")
    ax.set_axis_off()
plt.show()
