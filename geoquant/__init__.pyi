from .assignment import assign as assign
from .assignment import nearest_codeword as nearest_codeword
from .clustering.kmedoids import geodesic_kmeans as geodesic_kmeans
from .clustering.kmedoids import geodesic_kmedoids as geodesic_kmedoids
from .clustering.result import Clustering as Clustering
from .codebook import Codebook as Codebook
from .errors import FileFormatError as FileFormatError
from .errors import GeoquantError as GeoquantError
from .errors import InputError as InputError
from .errors import NotConnectedError as NotConnectedError
from .errors import ResourceError as ResourceError
from .estimate import FitEstimate as FitEstimate
from .estimate import estimate_fit as estimate_fit
from .estimators import GeodesicKMeans as GeodesicKMeans
from .estimators import GeodesicKMedoids as GeodesicKMedoids
from .fit import FittedCodebook as FittedCodebook
from .fit import fit_codebook as fit_codebook
from .graph.components import bridge_components as bridge_components
from .graph.components import connected_components as connected_components
from .graph.csr import Graph as Graph
from .graph.knn import knn_graph as knn_graph
from .graph.knn import nearest_neighbors as nearest_neighbors
from .graph.shortest_paths import nearest_source as nearest_source
from .graph.shortest_paths import path_between as path_between
from .graph.shortest_paths import two_nearest_sources as two_nearest_sources
from .latents import read_latents as read_latents

__version__: str
