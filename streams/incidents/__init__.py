"""A library of incidents: recordings of well-known ways to go wrong, generated with seeds."""

from streams.choices import Size
from streams.incidents.library import BY_NAME, HARMLESS, INCIDENTS, Incident, Real, find, names
from streams.incidents.making import POLICY, make

__all__ = ["BY_NAME", "HARMLESS", "INCIDENTS", "POLICY", "Incident", "Real", "Size", "find", "make", "names"]
