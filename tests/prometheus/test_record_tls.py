"""Recording from a real Prometheus over TLS: whom we trust, who we are, and what is said if that does not fit."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.errors import BadInput
from holdfast.recording.document import PrometheusSource
from tests.prometheus.certificates import Authority, Pair
from tests.prometheus.server import NoPrometheus, Prometheus, none_to_be_had
from tests.prometheus.test_record_prometheus import source
from tests.recorded import canonical, recorded

PASSWORD, PASSWORD_HASH = "test", "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"


@dataclass(frozen=True, slots=True)
class Secured:
    """A server that wants a certificate of `ours`, and one that wants a password; both are known to `ours`."""

    ours: Authority
    others: Authority
    client: Pair
    certified: Prometheus
    with_login: Prometheus


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "others").mkdir()
    ours, others = Authority.founded(folder, "ours"), Authority.founded(folder / "others", "others")
    server, client = ours.signed("server"), ours.signed("client")
    context = ssl.create_default_context(cafile=ours.file)
    context.load_cert_chain(client.certificate, client.key)
    metrics = recording / "metrics.parquet"
    wants_us = f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {ours.file}\n"
    try:
        with (
            Prometheus(metrics, web=web(folder / "a.yml", server, wants_us), context=context) as certified,
            Prometheus(
                metrics,
                web=web(folder / "b.yml", server, f"basic_auth_users: {{reader: {PASSWORD_HASH}}}\n"),
                context=context,
                login=f"reader:{PASSWORD}",
            ) as with_login,
        ):
            yield Secured(ours, others, client, certified, with_login)
    except NoPrometheus as error:
        none_to_be_had(str(error))


def web(path: Path, pair: Pair, more: str = "") -> Path:
    """Write a server's settings."""
    path.write_text(f"tls_server_config:\n  cert_file: {pair.certificate}\n  key_file: {pair.key}\n{more}")
    return path


def asked(secured: Secured, recording: Path, **changes) -> PrometheusSource:
    """Ask the server that wants a certificate as it should be, but for changes."""
    usual = {
        "ca_file": str(secured.ours.file),
        "certificate_file": str(secured.client.certificate),
        "key_file": str(secured.client.key),
    }
    return source(secured.certified.url, recording, **usual | changes)


def refused(asked_for: PrometheusSource, recording: Path, folder: Path) -> str:
    """Record what cannot be, and return what is said; nothing is left."""
    out = folder / "recorded"
    with pytest.raises(BadInput) as caught:
        recorded(out / "out", asked_for, recording)
    assert not out.exists() or list(out.iterdir()) == []
    return str(caught.value)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.recording.http.PAUSE_SECONDS", 0.01)


def test_a_server_of_our_own_authority_takes_our_certificate(secured: Secured, recording: Path, tmp_path: Path) -> None:
    recorded(tmp_path / "out", asked(secured, recording), recording)
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))


def test_a_server_of_an_authority_that_we_do_not_trust_is_told(
    secured: Secured, recording: Path, tmp_path: Path
) -> None:
    for file in (None, str(secured.others.file)):
        said = refused(asked(secured, recording, ca_file=file), recording, tmp_path)
        assert said.startswith(f"{secured.certified.url}: its certificate is not trusted: ")
        assert said.endswith("; ca_file names who is")


@pytest.mark.parametrize("is_ours", [False, True])
def test_who_has_no_certificate_that_the_server_trusts_is_told(
    is_ours: bool, secured: Secured, recording: Path, tmp_path: Path
) -> None:
    """Neither none at all, nor one of our own authority that has expired."""
    changes: dict[str, str | None] = {"certificate_file": None, "key_file": None}
    if is_ours:
        pair = secured.ours.signed("expired-client", is_expired=True)
        changes = {"certificate_file": str(pair.certificate), "key_file": str(pair.key)}
    said = refused(asked(secured, recording, **changes), recording, tmp_path)
    assert said.startswith(f"{secured.certified.url}: does not take us as we are: ")
    assert "certificate" in said.split(": ")[2]
    assert said.endswith("; certificate_file and key_file name one of ours that it trusts")


@pytest.mark.parametrize(
    ("host", "is_expired", "why"),
    [("127.0.0.1", True, "certificate has expired"), ("127.0.0.2", False, "IP address mismatch")],
)
def test_a_certificate_that_is_over_or_of_another_host_is_told(
    host: str, is_expired: bool, why: str, secured: Secured, recording: Path, tmp_path: Path
) -> None:
    pair = secured.ours.signed(f"bad-{is_expired}", host=host, is_expired=is_expired)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    metrics = recording / "metrics.parquet"
    with Prometheus(metrics, web=web(tmp_path / "web.yml", pair), context=context) as server:
        said = refused(source(server.url, recording, ca_file=str(secured.ours.file)), recording, tmp_path)
    assert said.startswith(f"{server.url}: its certificate is not trusted: {why}")
    assert "ca_file" not in said


def test_a_password_is_taken_over_tls_and_a_wrong_one_or_a_token_refused(
    secured: Secured, recording: Path, tmp_path: Path
) -> None:
    (tmp_path / "right").write_text(f"{PASSWORD}\n")
    (tmp_path / "wrong").write_text("guessed\n")
    url, known = secured.with_login.url, {"ca_file": str(secured.ours.file)}
    right = source(url, recording, **known, username="reader", password_file=str(tmp_path / "right"))
    recorded(tmp_path / "out", right, recording)
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))
    wrong = str(tmp_path / "wrong")
    for who in ({"username": "reader", "password_file": wrong}, {"bearer_token_file": wrong}, {}):
        said = refused(source(url, recording, **known, **who), recording, tmp_path)
        assert "status 401: Unauthorized; --bearer-token-file, or --username and" in said
        assert "guessed" not in said


def test_files_that_are_no_certificates_are_told_before_anybody_is_asked(
    secured: Secured, recording: Path, tmp_path: Path
) -> None:
    locked = secured.ours.signed("locked", password=b"hush")
    other = secured.ours.signed("other")
    (tmp_path / "empty.pem").write_text("")
    nowhere = str(tmp_path / "nowhere.pem")
    for changes, why in (
        ({"ca_file": nowhere}, "ca_file: .*nowhere.pem: cannot be used: No such file"),
        ({"ca_file": str(tmp_path / "empty.pem")}, "ca_file: .*empty.pem: cannot be used: .+"),
        ({"certificate_file": nowhere}, "certificate_file, key_file: .*nowhere.pem and .*: cannot be used: No such"),
        ({"key_file": str(other.key)}, "certificate_file, key_file: .*: cannot be used: key values mismatch"),
        (
            {"certificate_file": str(locked.certificate), "key_file": str(locked.key)},
            "certificate_file, key_file: .*: cannot be used: .*(locked|decrypt|password|pem)",
        ),
    ):
        with pytest.raises(BadInput, match=f"^{why}"):
            recorded(tmp_path / "out", asked(secured, recording, **changes), recording)
