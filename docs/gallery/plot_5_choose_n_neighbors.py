"""
How many neighbours?
====================

With few neighbours the graph falls into components, which are then joined by bridges; with many
it takes short cuts where there is no data. In between lies a range in which the codes change
little: choose there.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_swiss_roll
from sklearn.metrics import adjusted_rand_score

import geoquant as gq

x, along = make_swiss_roll(1000, noise=0.3, random_state=0)
numbers = [3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32]
fits = [gq.fit_codebook(x, 12, n_neighbors=k, random_state=0) for k in numbers]

# %%
# Three things to look at: components before bridging; how far codes agree with those of the next
# number of neighbours, by the adjusted Rand index; and the longest edge, which grows where the
# graph leaves the sheet.

components = [fit.n_components for fit in fits]
longest = [fit.graph.lengths.max() for fit in fits]
agreement = [adjusted_rand_score(one.codes, other.codes) for one, other in pairwise(fits)]
between = np.sqrt(np.multiply(numbers[:-1], numbers[1:]))

figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
axes[0].plot(numbers, components, "o-")
axes[0].set(ylabel="components before bridging")
axes[1].plot(between, agreement, "o-")
axes[1].set(ylabel="agreement with the next", ylim=(0, 1))
axes[2].plot(numbers, longest, "o-")
axes[2].set(ylabel="longest edge", ylim=(0, None))
for ax in axes:
    ax.set(xlabel="neighbours")
plt.show()
