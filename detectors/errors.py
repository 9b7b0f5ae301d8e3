"""The one error that outside data may cause."""


class BadInput(Exception):
    """Input that cannot be judged. Its text is complete: which file, which place in it, what is allowed."""
