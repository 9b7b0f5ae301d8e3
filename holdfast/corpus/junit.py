"""A gate as JUnit XML, which CI systems show beside tests: one test case for each recording, one for the corpus."""

import re
from typing import Final
from xml.etree import ElementTree as Xml

from holdfast.corpus.gate_text import Gated
from holdfast.corpus.gating import Failure, result_in_words

_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 may hold, however it is written."""


def junit(gated: Gated) -> bytes:
    """Write a gate as JUnit XML."""
    gate = gated.gate
    whole = tuple(each for each in gate.failures if each.recording is None)
    failing = sum(bool(row.failures) for row in gate.rows) + bool(whole)
    counts = {"tests": str(len(gate.rows) + 1), "failures": str(failing), "errors": "0", "skipped": "0"}
    suites = Xml.Element("testsuites", {"name": "holdfast gate", **counts})
    suite = Xml.SubElement(suites, "testsuite", {"name": _clean(gated.contender.policy.policy), **counts})
    properties = Xml.SubElement(suite, "properties")
    named = {"policy": gated.contender.digest, "corpus": gated.corpus.digest}
    if gated.against:
        named["against"] = gated.against.digest
    for name, value in named.items():
        Xml.SubElement(properties, "property", {"name": name, "value": value})
    for row in gate.rows:
        text = result_in_words(row.new) + (f"\n{row.note}" if row.note else "")
        _case(suite, "incidents" if row.new.bad else "harmless", row.recording, row.failures, text)
    alarms = gate.alarms
    text = f"{alarms.count} of {alarms.total} stopped on evidence; alpha {alarms.alpha:g}"
    _case(suite, "corpus", "false alarms", whole, "\n".join((text, *gate.warnings, *gated.corpus.findings)))
    Xml.indent(suites)
    body: bytes = Xml.tostring(suites, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"


def _case(suite: Xml.Element, kind: str, name: str, failures: tuple[Failure, ...], text: str) -> None:
    case = Xml.SubElement(suite, "testcase", {"classname": f"holdfast.gate.{kind}", "name": _clean(name)})
    if failures:
        # One at most: what reads JUnit XML agrees on no more.
        attributes = {"type": failures[0].rule, "message": _clean(failures[0].text)}
        Xml.SubElement(case, "failure", attributes).text = _clean("\n".join(each.text for each in failures))
    Xml.SubElement(case, "system-out").text = _clean(text)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
