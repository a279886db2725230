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
        "one": -7.8149,
        "log n": 0.5246,
        "log² n": 0.0587,
        "log k": -0.2043,
        "log K": -0.5486,
        "log threads": -0.7788,
    },
    "clustering, swap": {
        "one": -6.4832,
        "log n": 0.1758,
        "log² n": 0.0481,
        "log k": 0.8138,
        "log K": -0.2146,
        "log threads": -0.4156,
    },
    "codebook": {
        "one": -14.0074,
        "log n": 0.6338,
        "log d": 0.6189,
    },
    "graph": {
        "one": -17.5273,
        "log n": 0.9601,
        "log k": 1.5093,
    },
    "neighbours, cells": {
        "one": -8.5123,
        "log n": 0.0025,
        "log² n": 0.0588,
        "log d": 0.5058,
        "log k": 0.2973,
        "log threads": -0.5083,
    },
    "neighbours, exact": {
        "one": -10.4089,
        "log n": 0.0777,
        "log² n": 0.0827,
        "log d": 0.2437,
        "log k": 0.3699,
        "log threads": -0.2535,
    },
    "rows": {
        "one": -15.6064,
        "log n": 0.8681,
        "log d": 0.3576,
    },
}
