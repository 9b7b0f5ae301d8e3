"""Pictures of the status page for the docs: `python -m tests.status.pictures FOLDER`."""

import sys
from pathlib import Path

from holdfast.files import write_whole
from rollouts.incidents import history as events
from rollouts.incidents.history import History
from tests.chromium import Page, found
from tests.status.samples import DAY, MINUTE, NOW, Memory, past
from tests.status.serving import serving

LIVE = "inc-20260312-0a1b2c3d"
PICTURES = (
    ("status-public", "/", 760, "light"),
    ("status-phone", f"/incidents/{LIVE}", 380, "dark"),
    ("status-internal", "/internal", 960, "light"),
)


def example() -> Memory:
    """Return incidents as they may be on any day, without the words that tests look for."""
    at = NOW - 40 * MINUTE
    hurt = events.Impact(
        colos=["ams01", "fra02"],
        services=["dns"],
        metrics=["errors"],
        traffic_share=0.12,
        hosts_share=0.05,
        onset=at - 2 * MINUTE,
    )
    said: list[events.Event] = [
        events.Opened(at=at, by="holdfast", title="Revert of bots-0312", severity="major", impact=hurt),
        events.RoleTaken(at=at + 2 * MINUTE, by="Ada", role="lead", person="Ada"),
        events.RoleTaken(at=at + 3 * MINUTE, by="Ada", role="communications", person="Grace"),
        events.Updated(
            at=at + 10 * MINUTE,
            by="Grace",
            text="Some queries are not answered. We have taken back a change and watch it take effect.",
            is_public=True,
            next_update=at + 45 * MINUTE,
        ),
    ]
    others = [past(NOW - 3 * DAY, 2), past(NOW - 30 * DAY, 3, "kv", "minor"), past(NOW - 60 * DAY, 4, "dns", "major")]
    for number, each in enumerate(others):
        clean = [
            event for event in each.events if isinstance(event, events.Updated | events.Mitigated | events.Resolved)
        ]
        first = each.events[0]
        assert isinstance(first, events.Opened)
        own = events.Impact(services=first.impact.services)
        begun = events.Opened(at=first.at, by="holdfast", title="Revert", severity=first.severity, impact=own)
        closed = events.Closed(at=first.at + 92 * MINUTE, by="Ada")
        reviewed = events.Reviewed(at=first.at + 91 * MINUTE, by="Ada", digest="0" * 64)
        others[number] = History(incident=each.incident, events=[begun, *clean, reviewed, closed])
    known = [History(incident=LIVE, events=said), *others]
    return Memory({each.incident: each for each in known})


def main(folder: Path) -> None:
    """Take the pictures."""
    binary = found()
    if binary is None:
        sys.exit("no Chromium on this machine; HOLDFAST_TEST_CHROMIUM names one")
    with serving(example()) as served, Page(binary) as browser:
        browser.call("Emulation.setScriptExecutionDisabled", value=True)  # it would say how old the example is
        for name, path, width, scheme in PICTURES:
            browser.show(served.url + path, width, scheme)
            write_whole(folder / f"{name}.png", browser.screenshot(whole=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
