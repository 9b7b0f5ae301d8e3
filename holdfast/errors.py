"""The errors that people who use holdfast may meet."""

from detectors.errors import BadInput

__all__ = ["BadInput"]
