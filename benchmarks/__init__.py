"""Measurements beside the package's peers; each result is verified before it is timed."""
