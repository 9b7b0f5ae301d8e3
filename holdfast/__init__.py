"""holdfast judges rollouts while they happen."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("holdfast")
