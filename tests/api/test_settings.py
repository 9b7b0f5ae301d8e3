"""The section `api` of the settings: nobody beyond this machine without tokens, and no address that may not be."""

from pathlib import Path

import pytest

from holdfast.errors import BadInput
from holdfast.live.settings import load
from holdfast.live.topics import wanted


def errors(folder: Path, text: str) -> list[str]:
    path = folder / "holdfast.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load(path, {})
    return str(caught.value).replace(f"{path}:", "").splitlines()


HOOK = "api:\n  webhooks:\n    - {name: a, secret: s, url: URL}\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "holdfast.example.com", "::", "localhost.example.com"])
def test_beyond_this_machine_tokens_are_needed(tmp_path: Path, host: str) -> None:
    (error,) = errors(tmp_path, f'api: {{host: "{host}"}}\n')
    assert f'api.host: found "{host}" without api.tokens' in error


@pytest.mark.parametrize("api", ["{host: 127.0.0.2}", '{host: "::1"}', "{host: 0.0.0.0, tokens: t.yaml}"])
def test_this_machine_alone_needs_none(tmp_path: Path, api: str) -> None:
    path = tmp_path / "holdfast.yaml"
    path.write_text(f"api: {api}\n", encoding="utf-8")
    assert load(path, {}).settings.api.is_open == ("tokens" not in api)


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "ftp://example.com/", "file:///etc/passwd", "https://", "https://user:pass@example.com/",
     "http://127.0.0.1.example.com/", "http://169.254.169.254/", "gopher://localhost/", "https://a/#b", "https://a:0/",
     '"https://a/ b"', '"https://a/\\r\\nx: y"', "https://a:99999/", "http://0.0.0.0/"],
)  # fmt: skip
def test_addresses_that_may_not_be_sent_to_are_refused(tmp_path: Path, url: str) -> None:
    (error,) = errors(tmp_path, HOOK.replace("URL", url))
    assert error.startswith("3: api.webhooks[0].url: found")


@pytest.mark.parametrize("url", ["https://example.com/hook?a=b", "http://localhost:9490/", "http://[::1]:9490/"])
def test_addresses_of_https_or_this_machine_may(tmp_path: Path, url: str) -> None:
    path = tmp_path / "holdfast.yaml"
    path.write_text(HOOK.replace("URL", f'"{url}"'), encoding="utf-8")
    found = load(path, {}).settings
    assert found.api.webhooks[0].url == url
    assert any(each.topic == "holdfast.undelivered" for each in wanted(found))


def test_without_webhooks_there_is_no_topic_for_what_they_do_not_take() -> None:
    assert not any(each.topic == "holdfast.undelivered" for each in wanted(load(None, {}).settings))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            HOOK.replace("URL", "https://a") + "    - {name: a, secret: s, url: https://a}\n",
            "api.webhooks[1].name: found",
        ),
        (HOOK.replace("url: URL", "url: https://a, attempts: 20"), "one event could be tried for"),
        ("api: {certificate: a.pem}\n", "api.certificate: allowed: certificate and key together"),
        ("api: {port: 70000}\n", "api.port: found 70000"),
        (HOOK.replace("url: URL", "url: https://a, attempts: many, timeout: soon"), "attempts"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in line for line in errors(tmp_path, text))
