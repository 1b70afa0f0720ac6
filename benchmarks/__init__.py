"""What holoprop costs, measured: `python -m benchmarks` runs every row and writes the results."""
