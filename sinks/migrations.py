"""A store from whatever version to the newest one.

Each statement may be run again, and the version is written down last: whoever is interrupted, or finds another worker
at the same work, does it once more, to the same end.
"""

from collections.abc import Mapping
from typing import Final

from sinks.backend import Backend, Reads
from sinks.errors import StoreError
from sinks.schema import FOUNDATION, STEPS, checksums, quoted

_VERSIONS: Final = "schema_version"


def versions(store: Reads) -> dict[int, str]:
    """Tell which versions of the schema a store has, and their checksums; none in one that was never made."""
    place = store.place
    made = store.select(
        f"SELECT count() FROM system.tables WHERE database = {quoted(place.database)} AND name = {quoted(_VERSIONS)}"
    )
    if made[0][0] == 0:
        return {}
    found = store.select(f"SELECT version, checksum FROM {place.table(_VERSIONS)} ORDER BY version")
    return {int(str(version)): str(checksum) for version, checksum in found}


def pending(store: Reads, name: str = "the store") -> list[str]:
    """List the statements that bring a store to the newest version, as they are run there.

    Parameters
    ----------
    store
        The store.
    name
        How it is called in an error.

    Raises
    ------
    StoreError
        If its schema is newer than this holdfast's, or another one.
    """
    return [statement for steps in _missing(store, name).values() for statement in steps]


def migrate(store: Backend, name: str = "the store") -> list[int]:
    """Bring a store to the newest version, and return the versions that were new to it.

    Raises
    ------
    StoreError
        As for `pending`, or if the store refuses a statement; what was done stays, and is not done again.
    """
    missing = _missing(store, name)
    wanted = checksums()
    for version, statements in missing.items():
        for statement in statements:
            store.run(statement)
        store.run(
            # Not VALUES: over the native protocol these are for the client to send.
            f"INSERT INTO {store.place.table(_VERSIONS)} (version, checksum) "
            f"SELECT {version}, {quoted(wanted[version])}"
        )
    return list(missing)


def require_current(store: Reads, name: str) -> None:
    """Refuse a store whose schema is not this holdfast's.

    Raises
    ------
    StoreError
        If that is so; the text says what to do.
    """
    if _missing(store, name):
        message = (
            f"{name} has schema {named(versions(store))}; `holdfast store migrate` brings it to {named(checksums())}"
        )
        raise StoreError(message)


def _missing(store: Reads, name: str) -> dict[int, list[str]]:
    """Return the statements of each version that a store lacks, in order; the foundation goes before the first."""
    found, wanted = versions(store), checksums()
    strange = {version: checksum for version, checksum in found.items() if wanted.get(version) != checksum}
    if strange:
        other = max(strange)
        ours = {other: wanted[other]} if other in wanted else wanted
        message = (
            f"{name} has schema {named(strange)}, and this holdfast has schema {named(ours)}; "
            "use the holdfast that made it, or another place"
        )
        raise StoreError(message)
    steps = {version: [*_foundation(version)] for version in wanted if version not in found}
    for step in STEPS:
        if step.version in steps:
            steps[step.version].append(step.statement)
    return {version: _placed(store, statements) for version, statements in steps.items()}


def _foundation(version: int) -> tuple[str, ...]:
    return FOUNDATION if version == min(checksums()) else ()


def _placed(store: Reads, statements: list[str]) -> list[str]:
    placed = [store.place.statement(statement) for statement in statements]
    return [statement for statement in placed if statement is not None]


def named(found: Mapping[int, str]) -> str:
    """Name a schema by its newest version, as in `version 2 (0123456789abcdef)`; `none` if there is none.

    Examples
    --------
    >>> named({1: "630d1e5da2f7b4ea", 2: "0123456789abcdef"})
    'version 2 (0123456789abcdef)'
    """
    if not found:
        return "none"
    version = max(found)
    return f"version {version} ({found[version]})"
