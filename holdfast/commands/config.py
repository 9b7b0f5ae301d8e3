"""`holdfast config`: the settings in force, and where each comes from."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Final, cast

import yaml

from holdfast.commands.workers import Config
from holdfast.live.settings import load
from holdfast.located import join

_SECRET: Final = re.compile(
    r"password|passphrase|secret|\.key\.pem|oauthbearer\.config|kinit\.cmd|assertion\.jwt\.template"
)
"""Keys of librdkafka whose values nobody may see."""

_SECRETIVE: Final = ("kafka", "clickhouse")
_MASK: Final = "********"


def config(config: Config = None) -> None:
    """Print the settings in force as YAML, and behind each where it comes from. Passwords are masked."""
    loaded = load(config)
    from holdfast.live.clients import check

    check(loaded.settings)
    for line in written(loaded.document, loaded.settings.origins):
        sys.stdout.write(f"{line}\n")


def written(document: Mapping[str, object], origins: Mapping[str, str]) -> Iterator[str]:
    """Write a document as YAML, line by line, with the origin of each value as a comment.

    Parameters
    ----------
    document
        Mappings, lists and scalars.
    origins
        File and line, or variable, by path; what is not there is a default.
    """
    yield from _lines(document, origins, "", "")


def _lines(value: object, origins: Mapping[str, str], path: str, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, one in cast("Mapping[str, object]", value).items():
            yield from _entry(f"{indent}{_scalar(key)}:", one, origins, join(path, key), f"{indent}  ")
    else:
        for index, one in enumerate(cast("list[object]", value)):
            if not isinstance(one, Mapping | list):
                yield f"{indent}- {_scalar(one)}  # {origins.get(join(path, index), 'default')}"
                continue
            first, *rest = _lines(cast("object", one), origins, join(path, index), f"{indent}  ")
            yield f"{indent}- {first.strip()}"
            yield from rest


def _entry(start: str, value: object, origins: Mapping[str, str], path: str, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping | list) and value:
        yield start
        yield from _lines(cast("object", value), origins, path, indent)
    else:
        shown = _MASK if path.startswith(_SECRETIVE) and _SECRET.search(path) and value else value
        yield f"{start} {_scalar(shown)}  # {origins.get(path, 'default')}"


def _scalar(value: object) -> str:
    """Write a scalar, or what is empty, in one line."""
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text = yaml.safe_dump(value, default_flow_style=True, default_style=style, width=2**31 - 1, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
