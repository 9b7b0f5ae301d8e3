"""Control as a Faust app would be, held against what control promises: `python -m benchmarks.faust_control`."""
