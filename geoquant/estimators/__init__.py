"""scikit-learn estimators: thin, validated faces of the pure functions."""

from geoquant.estimators.geodesic_kmeans import GeodesicKMeans
from geoquant.estimators.geodesic_kmedoids import GeodesicKMedoids
from geoquant.estimators.knn_transformer import KNNTransformer

__all__ = ["GeodesicKMeans", "GeodesicKMedoids", "KNNTransformer"]
