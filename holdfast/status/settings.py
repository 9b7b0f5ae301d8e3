"""Settings of the status page: where it is served, who may read which part, and how subscribers are written to."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from detectors.policy import Name, duration_ms
from holdfast.api.settings import is_loopback
from holdfast.live.durations import between
from holdfast.located import Place, Problems, quoted
from holdfast.status.addresses import address

PathText = Annotated[str, Meta(min_length=1, extra={"allowed": "the path of a file or folder"})]
Port = Annotated[int, Meta(ge=0, le=65_535)]


def web(url: str) -> None:
    """Check the public address of a page.

    Raises
    ------
    ValueError
        If it is none.
    """
    allowed = "allowed: https://HOST/PATH, or http:// to this machine, without a user, a query and a slash at its end"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_web = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        is_plain = not (parts.query or parts.fragment or "@" in parts.netloc or parts.port == 0 or url.endswith("/"))
    except ValueError as error:
        raise ValueError(allowed) from error
    if not host or not is_web or not is_plain:
        raise ValueError(allowed)


Url = Annotated[
    str,
    Meta(max_length=500, pattern=r"^[!#-;=?-~]+$", extra={"allowed": "an address in printable ASCII", "parse": web}),
]
Address = Annotated[str, Meta(max_length=254, extra={"allowed": "an e-mail address", "parse": address})]


class Mail(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How subscribers are written to: a server of outgoing mail, the sender, and a file with the password of `user`.

    `per_minute` is the most that is sent.
    """

    host: Name
    port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    security: Annotated[str, Meta(pattern="^(starttls|tls|none)$", extra={"allowed": "starttls, tls or none"})] = (
        "starttls"
    )
    sender: Address
    user: Name | None = None
    password: PathText | None = None
    timeout: Annotated[str, between("100ms", "1m")] = "10s"
    per_minute: Annotated[int, Meta(ge=1, le=100_000)] = 600


class Status(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where `holdfast status serve` listens, what it calls itself, and its bounds; port 0 is any free one."""

    host: Name = "127.0.0.1"
    port: Port = 9481
    url: Url | None = None
    title: Name = "Status"
    folder: PathText | None = None
    tokens: PathText | None = None
    certificate: PathText | None = None
    key: PathText | None = None
    behind_proxy: bool = False
    stale_after: Annotated[str, between("10s", "1h")] = "1m"
    requests_max: Annotated[int, Meta(ge=1, le=1_000)] = 64
    streams_max: Annotated[int, Meta(ge=0, le=5_000)] = 200
    streams_per_client: Annotated[int, Meta(ge=1, le=5_000)] = 10
    secret: PathText | None = None
    mail: Mail | None = None
    subscribers_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000


SECRET_BYTES_MIN: Final = 32


def status_rules(document: Place, problems: Problems) -> None:
    """Note what the section says that does not fit together, though each key by itself may be right."""
    status = document.child("status")
    if status is None:
        return
    certificate, key = status.child("certificate"), status.child("key")
    if (certificate is None) != (key is None):
        problems.add(
            certificate or key or status, "status.certificate", "allowed: certificate and key together, or neither"
        )
    mail = status.child("mail")
    if mail is None or mail.value is None:
        return
    for name, why in (("secret", "what links in mails are made with"), ("url", "what links in mails lead to")):
        given = status.child(name)
        if given is None or given.value is None:
            problems.add(mail, "status.mail", f"found without status.{name}, {why}; allowed: both or neither")
    user, password, security = mail.child("user"), mail.child("password"), mail.child("security")
    if (user is None) != (password is None):
        problems.add(user or password or mail, "status.mail.user", "allowed: user and password together, or neither")
    host = mail.child("host")
    server = host.string() if host is not None else None
    is_bare = security is not None and security.value == "none"
    if is_bare and password is not None and server is not None and not is_loopback(server):
        text = f"found {quoted('none')} with a password; allowed: starttls or tls, so that nobody can read it"
        problems.add(security or mail, "status.mail.security", text)


def seconds(text: str) -> float:
    """Return a duration in seconds."""
    return duration_ms(text) / 1_000
