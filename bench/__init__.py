"""Benchmarks. Run them by hand or by `make bench-…`; none is a timed test."""
