"""Drills: an incident that hurts nobody, from the first bad sample to the review."""
