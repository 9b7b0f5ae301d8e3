"""Contents of units on their topic, each under its digest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.errors import BadInput, Unreachable
from holdfast.live.clients import producer
from holdfast.live.settings import Settings
from rollouts import packages
from rollouts.document import Unit

_ANSWER_S: Final = 30.0


def publish(settings: Settings, units: Sequence[Unit], folder: Path) -> None:
    """Put the contents of a package on the topic, if all of them are what the package says.

    Parameters
    ----------
    settings
        Of the engine.
    units
        The package.
    folder
        Where the contents are, by the names of the units.

    Raises
    ------
    BadInput
        If one is missing, or is not what its digest names; nothing is published then.
    Unreachable
        If the brokers do not take them.
    """
    packages.require(units)
    contents = [packages.verified(unit, _content(folder / unit.unit)) for unit in units]
    writer = producer(settings)
    for unit, content in zip(units, contents, strict=True):
        writer.produce(settings.topics.units, key=unit.digest.encode(), value=content)
    if writer.flush(_ANSWER_S):
        message = f"{settings.topics.units}: the brokers have not taken all units in {_ANSWER_S:g} s"
        raise Unreachable(message)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(packages.CONTENT_BYTES_MAX + 1)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise BadInput(message) from error
