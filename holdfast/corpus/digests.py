"""Names for what a corpus holds, by content: SHA-256 over its files, in whatever order they were found."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from detectors.errors import BadInput

DOCUMENTS = ("rollout.yaml", "policy.yaml", "truth.yaml")


def files_of(recording: Path) -> list[Path]:
    """List the files of a recording that say how it is judged and what is right, sorted."""
    files = [recording / "metrics.parquet", *(recording / name for name in DOCUMENTS)]
    return [file for file in (*files, *sorted((recording / "rollouts").glob("*.yaml"))) if file.is_file()]


def digest_of_file(file: Path) -> str:
    """Return the digest of a file's bytes.

    Raises
    ------
    BadInput
        If the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror or error}"
        raise BadInput(msg) from error


def digest_of(parts: Iterable[tuple[str, str]]) -> str:
    """Return the digest of names and the digests of what they name; their order does not matter.

    Examples
    --------
    >>> digest_of([("a", "sha256:1"), ("b", "sha256:2")]) == digest_of([("b", "sha256:2"), ("a", "sha256:1")])
    True
    >>> digest_of([("a", "sha256:1")]) == digest_of([("a", "sha256:2")])
    False
    """
    # A name may hold any character but NUL, so that no two lists of parts have the same text.
    text = "".join(f"{name}\0{digest}\0" for name, digest in sorted(parts))
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()}"
