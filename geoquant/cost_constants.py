"""Constants of `cost`, written by ``python -m benchmarks.fit_cost_constants``."""

#: Bytes of scratch, per byte of each feature.
SCRATCH: dict[str, dict[str, float]] = {
    "clustering": {
        "nodes": 0.0,
        "nodes of each thread": 0.0,
        "edges": 1.279,
        "fixed": 724618.8574,
    },
    "codebook": {
        "nodes": 9.6855,
        "nodes of each thread": 0.0,
        "edges": 0.623,
        "fixed": 380427.3771,
    },
    "neighbours, cells": {
        "latents": 0.1408,
        "nodes": 0.551,
        "fixed": 0.0,
    },
    "neighbours, exact": {
        "latents": 0.1509,
        "nodes": 0.0,
        "fixed": 392866.6611,
    },
}

#: Seconds of each step, on the machine measured.
TIME: dict[str, dict[str, float]] = {
    "clustering, alternate": {
        "nodes": 3.277e-06,
        "visits of medoids": 2.709e-07,
    },
    "clustering, swaps": {
        "visits": 1.236e-08,
        "evaluations": 8.232e-07,
        "nodes": 2.369e-07,
    },
    "codebook": {
        "coordinates": 3.208e-09,
        "nodes": 7.467e-09,
    },
    "graph": {
        "entries": 6.619e-08,
        "comparisons": 2.758e-10,
    },
    "neighbours, cells": {
        "pairs": 6.515e-12,
        "points": 1.635e-06,
    },
    "neighbours, exact": {
        "pairs": 3.123e-12,
        "points": 2.518e-06,
    },
    "rows": {
        "coordinates": 1.909e-09,
        "comparisons": 3.64e-09,
    },
}
