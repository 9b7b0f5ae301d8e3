"""Documents: what loads, and the exact words in which the rest is refused."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from detectors.policy import Metric, Objective, Policy, Ratio, Tolerance, duration_ms
from holdfast.documents import digest, load_policy, load_rollout, load_truth
from holdfast.errors import BadInput

DATA = Path(__file__).parent / "data"
MAKE = Path(__file__).parents[2] / "shared" / "recordings" / "make.py"

POLICY = """\
policy: dns-resolver        # who judges the resolver
tick: 15s
alpha: 0.02
metrics:
  - {name: failures, ratio: {bad: dns_servfail, total: dns_queries}, worse: increase,
     tolerate: {relative: 0.2, absolute: 0.0001}, breach: revert}
  - {name: busy, gauge: cpu_seconds, worse: increase, tolerate: {relative: 0.08}, breach: halt, scale: 2}
  - {name: slow, histogram: dns_seconds_bucket, quantile: 0.95, worse: increase,
     tolerate: {relative: 0.15}, breach: revert}
  - {name: queries, counter: dns_queries, worse: either, tolerate: {relative: 0.3}, breach: halt,
     required: true}
  - {name: cache_failures, ratio: {bad: kv_5xx, total: kv_requests}, select: {service: [cache, "cache-*"]},
     worse: increase, tolerate: {relative: 0.2}, breach: halt, objective: {below: 0.002, for: 4 of 6}}
"""

ROLLOUT = """\
rollout: resolver-0402
package:
  - {unit: resolver/zones.bin, kind: data-file, digest: "sha256:00112233445566778899aabbccddeeff"}
started: 2026-04-02T08:00:00Z
stages:
  - {name: first, canary: {cohort: canary}, control: {cohort: control}, bake: 20m,
     deadline: 1.5h, settle: 90s}
  - {name: east, canary: {colo: [nrt01, sin02]}, bake: 20m, started: "2026-04-02T12:00:00+02:00"}
policy: dns-resolver
mode: shadow
"""

TRUTH = """\
bad: true
expect: [halt, revert]
onset: 2026-04-02T08:10:00Z
colos: [nrt01]
metrics: [failures]
within: 30
"""

LOADERS = {"policy": load_policy, "rollout": load_rollout, "truth": load_truth}


def write(folder: Path, text: str | bytes, name: str = "document.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
    return path


def refusal(kind: str, path: Path) -> list[str]:
    """Return the errors without the name of the file, which each of them must bear."""
    with pytest.raises(BadInput) as caught:
        LOADERS[kind](path)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(str(path)) for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def policy_of(metric: str, rest: str = "") -> str:
    return f"policy: p\nmetrics:\n  - {{{metric}}}\n{rest}"


GAUGE = "name: m, gauge: g, worse: increase, breach: halt"


def bad_documents() -> list[pytest.ParameterSet]:
    """Read the table of documents that are refused, and spell its abbreviations out."""
    table = yaml.safe_load((DATA / "bad_documents.yaml").read_text("utf-8"))
    words = table.pop("words")

    def spelled(text: str) -> str:
        return re.sub("<([a-z ]+)>", lambda match: words[match[1]], text)

    return [
        pytest.param(
            kind,
            spelled(row["text"]),
            [spelled(error) for error in row["errors"]],
            id=f"{kind}: {row['name']}",
        )
        for kind, rows in table.items()
        for row in rows
    ]


@pytest.mark.parametrize(("kind", "text", "expected"), bad_documents())
def test_bad_document_is_refused_in_these_words(kind: str, text: str, expected: list[str], tmp_path: Path) -> None:
    assert refusal(kind, write(tmp_path, text)) == expected


BAD_FILES = {
    "empty": (b"", "1: the file is empty; allowed: one YAML mapping"),
    "only a comment": (b"# later\n", "1: the file is empty; allowed: one YAML mapping"),
    "Latin-1": (b"policy: p\n# caf\xe9\n", "2: byte 0xe9 is not UTF-8; allowed: text in UTF-8"),
    "control characters": (
        "é: é\né: \x07".encode(),
        "2: not valid YAML: control characters are not allowed",
    ),
    "no YAML": (
        b"policy: p\nmetrics: a: b\n",
        "2: not valid YAML: mapping values are not allowed in this context",
    ),
    "an alias to nothing": (b"policy: *p\n", "1: not valid YAML: found undefined alias"),
    "two documents": (
        b"policy: p\n---\npolicy: q\n",
        "2: not valid YAML: expected a single document in the stream, but found another document",
    ),
    "too large": (b"#" * 1_000_001, " larger than 1 MB; allowed: at most 1000000 bytes"),
    "too deep": (
        b"policy: " + b"[" * 40 + b"]" * 40,
        "1: nested too deeply; allowed: at most 32 levels",
    ),
}


@pytest.mark.parametrize(("raw", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_unreadable_file_is_refused_in_these_words(raw: bytes, expected: str, tmp_path: Path) -> None:
    assert refusal("policy", write(tmp_path, raw)) == [expected]


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal("truth", tmp_path / "truth.yaml") == [" cannot be read: no such file or directory"]


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    assert refusal("rollout", tmp_path) == [" cannot be read: is a directory"]


def test_aliases_that_multiply_are_refused_at_once(tmp_path: Path) -> None:
    rows = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 25)]
    path = write(tmp_path, "\n".join(["a0: &a0 [x]", *rows]))
    (error,) = refusal("policy", path)
    assert error.endswith("values, aliases included; allowed: at most 100000")  # written out, they have no end


def test_merges_that_multiply_are_refused(tmp_path: Path) -> None:
    keys = ", ".join(f"k{i}: 1" for i in range(1_000))
    merges = "\n".join("  - {<<: *a}" for _ in range(1_000))
    (error,) = refusal("policy", write(tmp_path, f"a: &a {{{keys}}}\nb:\n{merges}\n"))
    assert error.endswith(": too much is merged; allowed: at most 100000 values")


def test_errors_beyond_a_thousand_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, policy_of(GAUGE, "".join(f"zzz{i}: 1\n" for i in range(1_200))))
    errors = refusal("policy", path)
    assert (len(errors), errors[-1]) == (1_001, " and 200 more errors")


def test_policy_loads_with_every_kind_of_metric(tmp_path: Path) -> None:
    assert load_policy(write(tmp_path, POLICY)) == Policy(
        policy="dns-resolver",
        tick="15s",
        alpha=0.02,
        metrics=[
            Metric(
                name="failures",
                ratio=Ratio(bad="dns_servfail", total="dns_queries"),
                worse="increase",
                tolerate=Tolerance(relative=0.2, absolute=0.0001),
                breach="revert",
            ),
            Metric(
                name="busy",
                gauge="cpu_seconds",
                worse="increase",
                tolerate=Tolerance(relative=0.08),
                breach="halt",
                scale=2.0,
            ),
            Metric(
                name="slow",
                histogram="dns_seconds_bucket",
                quantile=0.95,
                worse="increase",
                tolerate=Tolerance(relative=0.15),
                breach="revert",
            ),
            Metric(
                name="queries",
                counter="dns_queries",
                worse="either",
                tolerate=Tolerance(relative=0.3),
                breach="halt",
                required=True,
            ),
            Metric(
                name="cache_failures",
                ratio=Ratio(bad="kv_5xx", total="kv_requests"),
                select={"service": ["cache", "cache-*"]},
                worse="increase",
                tolerate=Tolerance(relative=0.2),
                breach="halt",
                objective=Objective(below=0.002, window="4 of 6"),
            ),
        ],
    )


def test_rollout_loads_with_its_stages(tmp_path: Path) -> None:
    rollout = load_rollout(write(tmp_path, ROLLOUT))
    assert [(stage.name, stage.bake, stage.settle) for stage in rollout.stages] == [
        ("first", "20m", "90s"),
        ("east", "20m", "0s"),
    ]


def test_times_load_with_their_zone_quoted_or_not(tmp_path: Path) -> None:
    rollout = load_rollout(write(tmp_path, ROLLOUT))
    assert (rollout.started, rollout.stages[1].started) == (
        datetime(2026, 4, 2, 8, tzinfo=UTC),
        datetime(2026, 4, 2, 10, tzinfo=UTC),
    )


def test_truth_loads(tmp_path: Path) -> None:
    truth = load_truth(write(tmp_path, TRUTH))
    assert (truth.bad, truth.expect, truth.colos, truth.within) == (True, ["halt", "revert"], ["nrt01"], 30)


def test_both_tolerances_may_be_zero(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, policy_of(f"{GAUGE}, tolerate: {{relative: 0, absolute: 0}}")))
    assert policy.metrics[0].tolerate == Tolerance(relative=0.0, absolute=0.0)


def test_a_ratio_may_be_worse_when_it_falls(tmp_path: Path) -> None:
    text = policy_of("name: hits, ratio: {bad: h, total: t}, worse: decrease, breach: halt")
    assert load_policy(write(tmp_path, text)).metrics[0].worse == "decrease"


def test_merged_mapping_yields_to_the_keys_beside_it(tmp_path: Path) -> None:
    text = f"policy: p\nmetrics:\n  - &one {{{GAUGE}, weight: 2}}\n  - {{<<: *one, name: other}}\n"
    metric = load_policy(write(tmp_path, text)).metrics[1]
    assert (metric.name, metric.weight) == ("other", 2.0)


def test_byte_order_mark_and_windows_line_ends_are_let_pass(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + POLICY.replace("\n", "\r\n").encode())
    assert load_policy(path).policy == "dns-resolver"


def test_digest_ignores_comments_order_and_spelled_out_defaults(tmp_path: Path) -> None:
    one = load_policy(write(tmp_path, f"policy: p # why\nmetrics: [{{{GAUGE}}}]\n"))
    other = load_policy(write(tmp_path, f"alpha: 1.0e-2\nmetrics: [{{weight: 1, {GAUGE}}}]\npolicy: p\n"))
    assert digest(one) == digest(other)


def test_digest_changes_with_the_content() -> None:
    metrics = [Metric(name="m", gauge="g", worse="increase", breach="halt")]
    policies = [Policy(policy="p", metrics=metrics, alpha=alpha) for alpha in (0.01, 0.02)]
    assert digest(policies[0]) != digest(policies[1])


def test_digest_stays_what_it_was() -> None:
    policy = Policy(policy="p", metrics=[Metric(name="m", gauge="g", worse="increase", breach="halt")])
    assert digest(policy) == "sha256:778250b3f2b77cf03d75b73cb47bbc025d60ee65b108fe2e077af50a571eabfb"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1ms", 1), ("10s", 10_000), ("1.5h", 5_400_000), ("0.001s", 1), ("2d", 172_800_000), ("0s", 0)],
)
def test_duration_is_read_exactly(text: str, expected: int) -> None:
    assert duration_ms(text) == expected


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1.s", "1 s", "1s\n", "1w", "\u0661s", "0.1ms", "367d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration"):
        duration_ms(text)


def test_what_the_recording_maker_writes_loads(tmp_path: Path) -> None:
    if not MAKE.exists():
        pytest.skip(f"the recording maker is not beside this repository ({MAKE})")
    arguments = ["fleet", "--out", str(tmp_path), "--count", "1", "--seed", "1", "--scenario", "errors"]
    subprocess.run([sys.executable, str(MAKE), *arguments], check=True)
    (folder,) = tmp_path.iterdir()
    rollout, policy = load_rollout(folder / "rollout.yaml"), load_policy(folder / "policy.yaml")
    assert (rollout.policy, load_truth(folder / "truth.yaml").bad) == (policy.policy, True)
