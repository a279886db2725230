"""
A graph of your own, in a pipeline
==================================

With ``metric="precomputed"`` the estimators take a sparse matrix of distances, such as scikit-
learn's neighbour transformers give. Here neighbours are found by cosine distance, of texts turned
into counts of words: three themes, told apart without labels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import KNeighborsTransformer
from sklearn.pipeline import make_pipeline

import geoquant as gq
from geoquant.report import plot_codes

words = {
    "sea": "wave tide salt boat harbour wind sail gull shore net storm",
    "kitchen": "salt pan oven bread knife flour butter heat plate soup storm",
    "garden": "seed soil rain spade rose bee wind leaf root shade bread",
}
rng = np.random.default_rng(0)
texts = [" ".join(rng.choice(words[theme].split(), 7)) for theme in words for _ in range(150)]

# %%
# Each step of the pipeline hands on what the next one takes: counts, then a graph, then codes.

pipeline = make_pipeline(
    TfidfVectorizer(),
    KNeighborsTransformer(mode="distance", n_neighbors=30, metric="cosine"),
    gq.GeodesicKMedoids(3, metric="precomputed", random_state=0),
)
codes = pipeline.fit_predict(texts)
for code, medoid in enumerate(pipeline[-1].medoid_indices_):
    print(f"{(codes == code).sum()} texts like: {texts[medoid]}")

# %%
# The picture is a map of the counts only to look at; the codes did not come from it.

counts = pipeline[0].transform(texts)
at = TruncatedSVD(3, random_state=0).fit_transform(counts)[:, 1:]
figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
plot_codes(at, codes, pipeline[-1].medoid_indices_, ax=ax)
ax.set_axis_off()
plt.show()
