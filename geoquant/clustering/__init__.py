"""Centres on a graph: seeds, alternation, swaps. Pure functions, no estimators."""
