"""Latents that one machine does not hold: the same graph, assignment and energy, in partitions.

An `engine` computes tasks; `shards` are the rows; `nodes` numbers the distinct ones, `partition`
brings them together cell by cell, and `graph` joins them; `components` adds bridges. `search` finds
nearest sources in supersteps, and `refine` centres; `fit` does all of it, and `array_fit` that of
arrays of Dask.

Every task reads and writes arrays in a scratch folder that all workers see, so it may be repeated.

Examples
--------
>>> import tempfile
>>> from geoquant.distributed.engine import LocalEngine
>>> from geoquant.distributed.graph import parted_knn_graph
>>> from geoquant.distributed.nodes import number_nodes
>>> from geoquant.distributed.partition import partition_nodes
>>> from geoquant.distributed.scratch import Scratch
>>> from geoquant.distributed.search import gathered_state, parted_nearest_source
>>> from geoquant.distributed.shards import shards_of_array
>>> engine = LocalEngine()
>>> with tempfile.TemporaryDirectory() as folder:
...     nodes = number_nodes(shards_of_array([[0.0], [1.0], [3.0]], 2), Scratch(folder), engine)
...     graph = parted_knn_graph(partition_nodes(nodes, 1, 2, engine), 1, engine)
...     gathered_state(parted_nearest_source(graph, [2], engine))[0].tolist()
[3.0, 2.0, 0.0]
"""
