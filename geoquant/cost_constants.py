"""Constants of `cost`, written by ``python -m benchmarks.fit_cost_constants``."""

#: Bytes of scratch, per byte of each feature.
SCRATCH: dict[str, dict[str, float]] = {
    "clustering": {
        "nodes": 0.0,
        "nodes of each thread": 0.0,
        "edges": 1.2458,
        "fixed": 65443.6359,
    },
    "codebook": {
        "nodes": 0.0,
        "nodes of each thread": 0.0,
        "edges": 1.2484,
        "fixed": 0.0,
    },
    "neighbours, cells": {
        "latents": 0.1296,
        "nodes": 1.4853,
        "fixed": 0.0,
    },
    "neighbours, exact": {
        "latents": 0.0433,
        "nodes": 0.3783,
        "fixed": 135861.2056,
    },
}

#: Seconds of each step, on the machine measured.
TIME: dict[str, dict[str, float]] = {
    "clustering, alternate": {
        "nodes": 3.023e-06,
        "visits of medoids": 2.701e-07,
    },
    "clustering, swaps": {
        "visits": 1.42e-08,
        "evaluations": 1.554e-06,
        "nodes": 2.483e-07,
    },
    "codebook": {
        "coordinates": 4.066e-09,
        "nodes": 2.275e-09,
    },
    "graph": {
        "comparisons": 5.211e-09,
    },
    "neighbours, cells": {
        "pairs": 9.327e-12,
        "points": 2.012e-06,
    },
    "neighbours, exact": {
        "pairs": 5.905e-12,
        "points": 2.023e-06,
    },
    "rows": {
        "coordinates": 1.977e-09,
        "comparisons": 3.893e-09,
    },
}
