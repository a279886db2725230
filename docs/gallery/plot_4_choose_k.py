"""
How many codes?
===============

The energy falls with every further code; where it stops falling fast, further codes split what
belongs together. The graph does not depend on the number of codes, so it is built once.
"""

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

import geoquant as gq
from geoquant.quality import majority_vote_accuracy

digits = load_digits()
graph = gq.knn_graph(digits.data, n_neighbors=10)
graph = gq.bridge_components(graph, digits.data).graph

# %%
# Both energies are given as shares of what one code leaves: their units differ, so their heights
# cannot be compared, but their bends can.

numbers = [1, 2, 4, 8, 10, 12, 16, 32, 64]
energy = {"geodesic": [], "KMeans": []}
told = {"geodesic": [], "KMeans": []}


def accuracy(codes):
    return majority_vote_accuracy(codes, digits.target, codes, digits.target)


for k in numbers:
    fit = gq.geodesic_kmeans(graph, digits.data, k, random_state=0)
    energy["geodesic"].append(fit.inertia)
    told["geodesic"].append(accuracy(fit.labels))
    kmeans = KMeans(k, n_init=1, random_state=0).fit(digits.data)
    energy["KMeans"].append(kmeans.inertia_)
    told["KMeans"].append(accuracy(kmeans.labels_))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for name, style in (("geodesic", "o-"), ("KMeans", "s--")):
    left.plot(numbers, [e / energy[name][0] for e in energy[name]], style, label=name)
    right.plot(numbers, told[name], style, label=name)
left.set(xlabel="codes", ylabel="energy, share of that of one code", xscale="log")
right.set(xlabel="codes", ylabel="digit told by the code's majority", xscale="log")
for ax in (left, right):
    ax.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
left.legend()
plt.show()
