"""Constants of `cost`, written by ``python -m benchmarks.fit_cost_constants``."""

#: Bytes of scratch, per byte of each feature.
SCRATCH: dict[str, dict[str, float]] = {
    "clustering": {
        "nodes": 0.0,
        "nodes of each thread": 2.4936,
        "edges": 1.2586,
        "fixed": 57182.1333,
    },
    "codebook": {
        "nodes": 0.0,
        "nodes of each thread": 0.0,
        "edges": 0.7521,
        "fixed": 0.0,
    },
    "neighbours, cells": {
        "latents": 1.9748,
        "nodes": 0.0,
        "fixed": 9604520.7112,
    },
    "neighbours, exact": {
        "latents": 1.4454,
        "nodes": 0.0,
        "fixed": 369984.2327,
    },
}

#: The logarithm of seconds, per unit of each feature.
TIME: dict[str, dict[str, float]] = {
    "clustering, alternate": {
        "one": -9.9053,
        "log n": 1.3135,
        "log k": -0.2527,
        "log K": -1.1523,
        "log n log K": 0.0638,
        "log threads": -0.7938,
    },
    "clustering, swap": {
        "one": -3.43,
        "log n": 0.2875,
        "log k": 0.9557,
        "log K": -1.8131,
        "log n log K": 0.1602,
        "log threads": -0.1046,
    },
    "codebook": {
        "one": -18.5362,
        "log n": 0.9567,
        "log d": 1.014,
    },
    "graph": {
        "one": -18.823,
        "log n": 0.98,
        "log k": 1.9532,
    },
    "neighbours, cells": {
        "one": -8.512,
        "log n": 0.0025,
        "log² n": 0.0588,
        "log d": 0.5057,
        "log k": 0.2973,
        "log threads": -0.5082,
    },
    "neighbours, exact": {
        "one": -14.1413,
        "log n": 0.9144,
        "log² n": 0.0394,
        "log d": 0.1937,
        "log k": 0.3119,
        "log threads": -0.2486,
    },
    "rows": {
        "one": -15.3213,
        "log n": 0.8819,
        "log d": 0.2039,
    },
}
