"""Reports of rollouts, as one HTML page that needs nothing else."""
