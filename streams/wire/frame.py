"""What all wire formats share."""

from collections.abc import Sequence
from typing import Final

ROWS_MAX: Final = 1 << 22
"""Most samples in one frame."""

DECODED_BYTES_MAX: Final = 1 << 28
"""Most memory that a compressed frame may take once it is unpacked."""

LABELS_MAX: Final = 256
"""Most labels that the samples of one frame may have, taken together."""


class BadFrame(Exception):
    """A frame that cannot be read. Its text says what is wrong, where in the frame, and what is allowed."""


def check_labels(names: Sequence[str]) -> None:
    """Refuse a frame with too many labels: each is a column as long as the frame.

    Raises
    ------
    BadFrame
        If there are too many.
    """
    if len(names) > LABELS_MAX:
        msg = f"{len(names):,} labels in one frame; allowed: at most {LABELS_MAX}, metric and colo among them"
        raise BadFrame(msg)
