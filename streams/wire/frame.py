"""What every wire format shares."""


class BadFrame(Exception):
    """A frame that cannot be read: one sentence on what was found, where, and what is allowed."""
