"""How fast and how good, as ratios measured side by side in one run: `make bench`, or `python -m tests.benchmarks`."""
