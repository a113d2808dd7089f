"""Benchmarks: `python -m benchmarks` runs them all. Ratios within one run are what counts."""
