"""The errors that what comes from outside may cause."""


class BadInput(Exception):
    """Input that cannot be judged. Its text is complete: which file, which place in it, what is allowed."""


class StateMismatch(Exception):
    """A state that is not that of whoever is to go on from it. Nothing was restored that could be gone on from."""
