"""The HTTP API and the plugs for other rollout systems: a thin shell, away from the verdict path."""
