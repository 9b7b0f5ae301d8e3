"""The errors that people who use holdfast may meet."""

from detectors.errors import BadInput

__all__ = ["BadInput", "Unreachable"]


class Unreachable(Exception):
    """The brokers did not answer in time, so that it is not known what stands on them."""
