"""Benchmarks: timings are figures to report, never tests."""
