"""What each figure in docs/benchmarks.md is measured with: `python -m bench --help`."""
