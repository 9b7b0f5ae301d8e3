"""Benchmarks: seeded workloads, timed as the best of several runs, with what they are compared to in the same run."""
