"""What other programs read: Parquet for viewers, folders for projectors and for sharing.

pyarrow, an optional extra, is imported where Parquet is written and nowhere else.
"""

from geoquant.export.folder import write_codebook_folder
from geoquant.export.parquet import write_parquet
from geoquant.export.projector import write_projector
from geoquant.export.table import LatentTable, latent_table

__all__ = [
    "LatentTable",
    "latent_table",
    "write_codebook_folder",
    "write_parquet",
    "write_projector",
]
