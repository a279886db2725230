"""
From one image to another, along the data
=========================================

Between two latents the chord leaves the data: what is decoded there is a double exposure. The
shortest path passes through real latents, each of which decodes to something that exists. The
autoencoder is PCA here, so that the example needs nothing else; with yours the code is the same.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import geoquant as gq

digits = load_digits()
pca = PCA(16).fit(digits.data)
latents = pca.transform(digits.data)
graph = gq.knn_graph(latents, n_neighbors=5)
graph = gq.bridge_components(graph, latents).graph

# %%
# From a 1 to a 0. The chord has as many steps as the path, and as even.

start, end = np.flatnonzero(digits.target == 1)[3], np.flatnonzero(digits.target == 0)[5]
path = gq.path_between(graph, start, end)
share = np.linspace(0, 1, len(path))[:, None]
chord = latents[start] * (1 - share) + latents[end] * share
print("digits along the path:", *digits.target[path])

# %%
figure, axes = plt.subplots(2, 1, figsize=(9, 3), layout="constrained")
for ax, name, rows in zip(axes, ("path", "chord"), (latents[path], chord), strict=True):
    images = pca.inverse_transform(rows).reshape(-1, 8, 8)
    ax.imshow(np.hstack(list(images)), cmap="gray_r", vmin=0, vmax=16)
    ax.set_title(f"decoded along the {name}")
    ax.set_axis_off()
plt.show()
