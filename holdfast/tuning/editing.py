"""Changing values in the text of a policy: in place, so that comments, order and layout stay the user's own."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec
import yaml

from detectors.errors import BadInput
from detectors.policy import Policy
from holdfast.documents import load_policy
from holdfast.located import BYTES_MAX, join
from holdfast.tuning.space import Path_, with_changes

_WIDTH: Final = 100
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_ ]*", re.ASCII)


def edited(file: Path, changes: Mapping[Path_, float | str], comment: Sequence[str]) -> str:
    """Return the text of a policy with other values, and a comment at its head that says why.

    Parameters
    ----------
    file
        The policy, which was read without an error.
    changes
        New values by path. A mapping on the way that is not there is written anew.
    comment
        Paragraphs, without `#`.

    Raises
    ------
    BadInput
        If a value cannot be changed in place, as it comes from an alias, or the result is not what was asked for.
    """
    text = file.read_text(encoding="utf-8")
    wished = with_changes(load_policy(file), changes)
    for path, value in changes.items():
        text = _changed(file, text, path, value)
    head = "".join(f"# {line}".rstrip() + "\n" for paragraph in comment for line in _wrapped(paragraph))
    result = head + text
    if _read(file, result) != wished:
        paths = ", ".join(_written(path) for path in changes)
        msg = f"{file}: {paths}: cannot be changed in place; write these values out, without anchors and merges"
        raise BadInput(msg)
    return result


def _written(path: Path_) -> str:
    whole = ""
    for key in path:
        whole = join(whole, key)
    return whole


def _wrapped(paragraph: str) -> list[str]:
    """Break a paragraph into lines; one that begins with a blank is indented throughout."""
    indent = " " * (len(paragraph) - len(paragraph.lstrip()))
    lines: list[str] = [indent]
    for word in paragraph.split():
        if len(lines[-1]) + len(word) + 1 > _WIDTH and lines[-1].strip():
            lines.append(indent)
        lines[-1] += f"{' ' if lines[-1].strip() else ''}{word}"
    return lines


def _read(file: Path, text: str) -> Policy | None:
    """Read a policy from its text; None if it is none any more."""
    if len(text.encode()) > BYTES_MAX:
        msg = f"{file}: would be larger than {BYTES_MAX:,} bytes with the comment"
        raise BadInput(msg)
    try:
        return msgspec.convert(yaml.safe_load(text), Policy)
    except (yaml.YAMLError, msgspec.ValidationError):
        return None


def _changed(file: Path, text: str, path: Path_, value: float | str) -> str:
    """Put a value into the text of a document."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    node: yaml.Node | None = root
    for place, key in enumerate(path):
        found = _child(node, key)
        if found is None:
            return _inserted(file, text, node, path[place:], value)
        node = found
    assert node is not None
    start, end = node.start_mark.index, node.end_mark.index
    if not isinstance(node, yaml.ScalarNode) or _is_shared(root, node):
        msg = f"{file}:{node.start_mark.line + 1}: {_written(path)}: is no single value that can be changed in place"
        raise BadInput(msg)
    return text[:start] + _scalar(value) + text[end:]


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
        return cast("yaml.Node", node.value[key])
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value == key:
                return cast("yaml.Node", value)
    return None


def _is_shared(root: yaml.Node | None, node: yaml.Node) -> bool:
    """Tell whether aliases make a node stand, or lie within what stands, in more than one place."""
    count = 0
    pending = [root]
    while pending:
        one = pending.pop()
        count += one is node
        if isinstance(one, yaml.SequenceNode):
            pending += one.value
        elif isinstance(one, yaml.MappingNode):
            pending += [value for _, value in one.value]
    return count > 1


def _inserted(file: Path, text: str, node: yaml.Node | None, path: Path_, value: float | str) -> str:
    """Put a value that is not there yet into the mapping that is to hold it."""
    if not isinstance(node, yaml.MappingNode) or not node.value:
        line = node.start_mark.line + 1 if node else 1
        msg = f"{file}:{line}: {_written(path)}: there is no mapping that it could be put into"
        raise BadInput(msg)
    written = _scalar(value)
    for key in reversed(path[1:]):
        written = f"{{{key}: {written}}}"
    pair = f"{path[0]}: {written}"
    if node.flow_style:
        last: yaml.Node = node.value[-1][1]
        at = last.end_mark.index
        return f"{text[:at]}, {pair}{text[at:]}"
    # After the first key, which as a rule is the name, if that is one line.
    is_named = len(node.value) > 1 and isinstance(node.value[0][1], yaml.ScalarNode)
    before: yaml.Node = node.value[1 if is_named else 0][0]
    at = before.start_mark.index
    return f"{text[:at]}{pair}\n{' ' * before.start_mark.column}{text[at:]}"


def _scalar(value: float | str) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) or value[:1].isdigit() else yaml.safe_dump(value).splitlines()[0]
    return number(value)


def number(value: float) -> str:
    """Write a number so that YAML reads it as one.

    Examples
    --------
    >>> number(0.1), number(2.0), number(5e-05), number(120)
    ('0.1', '2.0', '0.00005', '120')
    """
    if isinstance(value, int):
        return str(value)
    text = repr(float(value))
    if "e" not in text:
        return text
    return f"{value:.20f}".rstrip("0") if abs(value) < 1 else f"{value:.1f}"
