"""What all wire formats share."""


class BadFrame(Exception):
    """A frame that cannot be read. Its text says what is wrong, where in the frame, and what is allowed."""
