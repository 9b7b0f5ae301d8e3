"""Rollout control around the pure machine of `rollouts`: its worker, what carries units to hosts, and an agent."""
