"""Workers that demand gate certificates, on a real broker, and what `holdfast rollout submit` takes along."""

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.cli import main
from holdfast.documents import digest
from rollouts.announced import decode, with_event
from rollouts.certificate import encode
from tests.integration.cluster import Cluster
from tests.live.engine import announced, end_of, make_recording
from tests.test_certificate import KEY, made


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("harmless") / "harmless", colos=2, hosts=4, regions=1)


def submit(cluster: Cluster, recording: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int | str | None:
    documents = [str(recording / "rollout.yaml"), "--policy", str(recording / "policy.yaml")]
    line = ["holdfast", "rollout", "submit", *documents, "--config", str(cluster.path), *options]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize("is_certified", [True, False])
def test_only_what_bears_a_certificate_advances(kafka, tmp_path, harmless, monkeypatch, capsys, is_certified):
    public = tmp_path / "ci.pub.pem"
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    given = {"gate": {"required": True}, "trusted_keys": {"ci": str(public)}}
    with Cluster(kafka.bootstrap, tmp_path, **given) as cluster:
        announcement = announced(harmless)
        name = announcement.rollout.rollout
        assert submit(cluster, harmless, monkeypatch) == 2
        assert "the policy may let no stage advance: it has no gate certificate" in capsys.readouterr().err
        if is_certified:
            file = tmp_path / "certificate.json"
            file.write_bytes(encode(made(policy=digest(announcement.policy))))
            assert submit(cluster, harmless, monkeypatch, "--certificate", str(file)) == 0
            announcement = decode(cluster.read(cluster.settings.topics.rollouts)[-1].value)
        cluster.submit(with_event(announcement, "finished", None, end_of(harmless)))
        cluster.feed(cluster.frames(harmless))
        cluster.start("aggregate,judge")
        cluster.wait_until_finished(name)
        said = [(event.data.action, event.data.cause) for event in cluster.verdicts(name)]
        if is_certified:
            assert said[-1] == ("advance", "evidence")
        else:
            assert said == [("wait", "uncertified"), ("halt", "deadline")]
