"""The controller of `rollouts` in a Faust agent, as a process: `app.py worker -l info --without-web`.

It does what design.md asks of Faust: explicit acks after the effect, a changelog made beforehand, one partitioner,
an unexpected exception ends the process (`ON_RAISE=end`). What it does to hosts is a line in a file, with the id.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any, Final

import faust
import msgspec

from benchmarks.faust_control.rollouts_of import DECODER, FLEET, PARTITIONS, Kept, reports, submitted
from holdfast.wall import now, now_ms
from rollouts.breakers import Limits
from rollouts.context import Context
from rollouts.controlled import Deploy, Restore
from rollouts.controller import decide
from rollouts.folding import fold
from rollouts.inputs import Acted, Input, Verdict
from rollouts.reports import Report, heard

E: Final = os.environ
LIMITS: Final = Limits(rollouts_per_colo=1_000, rollouts_in_fleet=1_000)
_ROUNDS: Final = 20

app: Any = faust.App(
    E["APP"],
    broker=f"kafka://{E['BROKER']}",
    processing_guarantee=E["GUARANTEE"],
    topic_partitions=PARTITIONS,
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.0,
    broker_commit_interval=0.3,
    broker_commit_every=1,
    stream_wait_empty=False,
    store="memory://",
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
    datadir=E["DATADIR"],
    consumer_group_instance_id=E["WORKER"],
)
inputs: Any = app.topic(
    f"{E['APP']}.in", key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
)
table: Any = app.Table("h", partitions=PARTITIONS, key_type=str, value_type=str)
out = Path(E["OUT"]).open("ab", buffering=0)  # noqa: SIM115 - until the process ends


def say(**words: object) -> None:
    """Write a line for whoever counts."""
    out.write(json.dumps({"at_ms": now_ms(), **words}).encode() + b"\n")


async def keep(name: str, kept: Kept) -> None:
    """Keep a rollout, on the changelog too where Faust lets us wait for that."""
    table[name] = msgspec.json.encode(kept).decode()
    if E["GUARANTEE"] == "at_least_once":
        await app.producer.flush()


async def handle(name: str, message: dict[str, Any]) -> None:
    """Take an input, decide, keep what was decided, do what is to be done, and keep that it was."""
    raw = table.get(name)
    kept = DECODER.decode(raw) if raw else Kept()
    if "submit" in message and not kept.events:
        first = reports(name, FLEET.hosts, 0, now())
        kept = Kept(events=[submitted(name, now())], reports={one.host: one for one in first})
        await keep(name, kept)
    if not kept.events:
        return
    if "reports" in message:
        for one in msgspec.convert(message["reports"], list[Report]):
            kept.reports = heard(kept.reports, one, now())
        await keep(name, kept)
    if "raise" in message and not Path(message["raise"]).exists():
        Path(message["raise"]).touch()
        text = "as asked, once"
        raise ValueError(text)
    given: Input | None = Verdict(**message["verdict"]) if "verdict" in message else None
    for _ in range(_ROUNDS):
        state = fold(kept.events)
        assert state is not None
        context = Context(now=now(), reports=kept.reports, fleet=FLEET, limits=LIMITS)
        made = decide(kept.events, state, given, context)
        if made.events != kept.events:
            kept = Kept(events=made.events, reports=kept.reports)
            await keep(name, kept)
        for effect in made.state.outbox:
            if isinstance(effect, Deploy | Restore):
                say(effect=effect.id, rollout=name, number=effect.number, stage=effect.stage)
        if not made.state.outbox:
            return
        given = Acted(effects=[effect.id for effect in made.state.outbox])


async def control(stream: Any) -> None:
    """Take inputs, and acknowledge each after its effects."""
    async for event in stream.noack().events():
        place = [event.message.partition, event.message.offset]
        say(got=place)
        try:
            await handle(event.key.decode(), msgspec.json.decode(event.value))
        except Exception as error:
            say(raised=repr(error))
            if E.get("ON_RAISE") == "end":
                os.kill(os.getpid(), signal.SIGKILL)
            raise
        await stream.ack(event)
        say(acked=place)


app.agent(inputs)(control)

if __name__ == "__main__":
    app.finalize()
    app.main()
