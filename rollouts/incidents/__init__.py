"""Incidents: what they are, who responds, and who hears of it. Pure."""
