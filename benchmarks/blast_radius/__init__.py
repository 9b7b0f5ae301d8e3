"""How far bad packages get, released stage by stage under control: `python -m benchmarks.blast_radius`."""
