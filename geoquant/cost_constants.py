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
        "nodes": 1.279e-06,
        "visits of medoids": 3.322e-07,
    },
    "clustering, swaps": {
        "visits": 1.455e-08,
        "evaluations": 9.763e-07,
        "nodes": 2.493e-07,
    },
    "codebook": {
        "coordinates": 3.509e-09,
        "nodes": 1.142e-08,
    },
    "graph": {
        "entries": 1.451e-08,
        "comparisons": 4.298e-09,
    },
    "neighbours, cells": {
        "pairs": 7.164e-12,
        "points": 2.309e-06,
    },
    "neighbours, exact": {
        "pairs": 6.111e-12,
        "points": 1.861e-06,
    },
    "rows": {
        "coordinates": 1.896e-09,
        "comparisons": 3.975e-09,
    },
}
