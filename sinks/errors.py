"""What a store may object to. Every text is complete, and meant for people."""


class StoreError(Exception):
    """The store cannot do what was asked."""


class StoreBusy(StoreError):
    """Another process, or another part of this one, has the store open."""


class StoreAway(StoreError):
    """The store cannot be reached, is busy, read-only or full: the same may be asked again later."""


class StoreRefused(StoreError):
    """These rows are refused, and will be however often they come."""
