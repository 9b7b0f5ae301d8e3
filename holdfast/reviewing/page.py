"""The draft as a page: no scripts, no network; equal drafts give equal bytes."""

from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from holdfast.reporting.data import ReportData
from holdfast.reporting.page import sections_of
from holdfast.reporting.tables import Table
from holdfast.reviewing.draft import SECTIONS, Draft, second

PICTURES_MAX: Final = 6
"""Most metrics whose pictures stand in a review; the page of evidence has more."""


def _environment() -> Environment:
    made = Environment(
        loader=ChoiceLoader([PackageLoader("holdfast.reviewing"), PackageLoader("holdfast.reporting")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(second=second, iso=datetime.isoformat)
    return made


def pictures(data: ReportData) -> str:
    """Draw the metrics that a rollout was blamed for."""
    blamed = [section for section in sections_of(data) if section.is_blamed and section.charts]
    return _environment().get_template("pictures.html").render(sections=blamed[:PICTURES_MAX])


def page(draft: Draft) -> str:
    """Write the page."""
    incident = draft.facts.incident
    shown: dict[str, Any] = {
        "draft": draft,
        "facts": draft.facts,
        "incident": incident,
        "sections": SECTIONS,
        "causes": Table(
            "Changes that may have caused it",
            ("Change", "Score", "Evidence"),
            tuple(
                (each.rollout or "unattributed", f"{each.score:.2f}", "; ".join(each.evidence))
                for each in incident.candidates
            ),
        ),
        "timeline": Table(
            "Everything that is stored, in order",
            ("Time, UTC", "From", "Who", "What"),
            tuple((second(each.at).removesuffix(" UTC"), each.source, each.who, each.what) for each in draft.timeline),
        ),
        "items": Table(
            "What is to be done",
            ("Id", "What", "Owner", "Due", "Done"),
            tuple(
                (
                    each.id,
                    each.what,
                    each.owner,
                    each.due.astimezone(UTC).date().isoformat(),
                    second(each.done) if each.done else "no",
                )
                for each in incident.actions
            ),
        ),
    }
    return _environment().get_template("review.html").render(**shown)
