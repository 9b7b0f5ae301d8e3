"""Prometheus as a source of samples: those that were scraped, at the times at which they were.

The interface that is made for graphs (`query_range` of a series) invents samples: it repeats the last one at every step
for up to five minutes. So what is asked for here is a range of raw samples, `metric{…}[5m]` by `query`; and where one
sample a step will do, `last_over_time(metric{…}[step])` by `query_range`, which has none where a step has no sample.
"""

import re
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.policy import Selector, duration_ms
from holdfast.errors import BadInput, Unreachable
from holdfast.located import quoted
from holdfast.recording.document import PrometheusSource
from holdfast.recording.http import Answer, Http, TooLarge
from holdfast.recording.origin import Piece, Told, stretch
from streams.recording import LabelColumn, Samples

CHUNK_MS: Final = 600_000
"""How long a stretch of time is asked for at first; half of it whenever an answer is too large."""

CHUNK_MS_MIN: Final = 1_000
SAMPLES_MAX: Final = 1 << 21
"""Most samples of all metrics that are held at a time."""

POINTS_MAX: Final = 11_000
"""Most steps that Prometheus gives of a series in one answer."""

NAMES_MAX: Final = 10_000
HISTOGRAMS: Final = "native histograms, which have no buckets `le`"

_TOO_MUCH: Final = re.compile(r"too many samples|sample limit|max-samples|limit.{0,40}exceeded|exceeds? .{0,60}limit")
_ATTEMPTS_MAX: Final = 3
"""How often an answer that is no JSON is asked for again."""


class _Series(Struct, frozen=True):
    metric: dict[str, str]
    values: msgspec.Raw = msgspec.Raw(b"[]")
    histograms: list[msgspec.Raw] = []


class _Data(Struct, frozen=True, rename="camel"):
    result_type: str
    result: list[_Series]


class _Answer(Struct, frozen=True, rename="camel"):
    status: str
    data: msgspec.Raw = msgspec.Raw(b"")
    error_type: str = ""
    error: str = ""
    warnings: list[str] = []


class _TooMuch(Exception):
    """Less has to be asked for at a time; the text is what the server says of it."""


class Server:
    """A Prometheus; see `holdfast.recording.origin.Origin`.

    Parameters
    ----------
    http
        Asks it.
    source
        What is asked.
    """

    def __init__(self, http: Http, source: PrometheusSource) -> None:
        self.name = http.url
        self.told = Told()
        self._http, self._source = http, source
        self._first_ms, self._end_ms = stretch(source)
        self._step_ms = None if source.step is None else duration_ms(source.step)
        self._matchers = {source.theirs(label): wanted for label, wanted in source.select.items() if label != "metric"}

    def read(self) -> Iterator[Piece]:
        """Yield the samples of all metrics, a stretch of time after the other."""
        names = self._names()
        chunk_ms = CHUNK_MS if self._step_ms is None else POINTS_MAX * self._step_ms
        begin = self._first_ms
        while begin < self._end_ms:
            end = min(begin + chunk_ms, self._end_ms)
            try:
                parts = self._chunk(names, begin, end)
            except _TooMuch as error:
                smallest = self._step_ms or CHUNK_MS_MIN
                if chunk_ms <= smallest:
                    message = (
                        f"{self.name}: even {smallest / 1_000:g} s of these metrics are too much to ask for at a time: "
                        f"{error}; allowed: to --select less, or a higher limit there"
                    )
                    raise BadInput(message) from error
                steps = 1 if self._step_ms is None else self._step_ms
                chunk_ms = max(smallest, min(chunk_ms, end - begin) // 2 // steps * steps)
                continue
            for samples in parts:
                yield Piece(samples, end - self._first_ms, self._end_ms - self._first_ms)
            begin = end

    def _names(self) -> list[str]:
        """Ask which metrics there are of those that are wanted."""
        wanted = self._source.select["metric"]
        matcher = _selector("", {"__name__": wanted} | self._matchers)
        parameters = [("match[]", matcher), ("start", _seconds(self._first_ms)), ("end", _seconds(self._end_ms))]
        answer = self._asked("/api/v1/label/__name__/values", parameters, is_get=True)
        names = msgspec.json.decode(answer, type=list[str])
        if not names:
            message = f"{self.name}: no series of {matcher} in that stretch of time; allowed: metrics that are there"
            raise BadInput(message)
        if len(names) > NAMES_MAX:
            message = f"{self.name}: {len(names):,} metrics; allowed: at most {NAMES_MAX:,}: select less"
            raise BadInput(message)
        return sorted(names)

    def _chunk(self, names: list[str], begin: int, end: int) -> list[Samples]:
        """Ask for the samples of all metrics from a time on and before another."""
        parts = []
        rows = 0
        for name in names:
            samples = self._samples(name, begin, end)
            rows += len(samples.time)
            if rows > SAMPLES_MAX:
                message = f"more than {SAMPLES_MAX:,} samples"
                raise _TooMuch(message)
            parts.append(samples)
        return parts

    def _samples(self, name: str, begin: int, end: int) -> Samples:
        selector = _selector(name, self._matchers)
        if self._step_ms is None:
            # A range is open on the left since version 3 and was closed before; a millisecond more, and both are right.
            query = f"{selector}[{end - begin}ms]"
            parameters = [("query", query), ("time", _seconds(end - 1))]
            path = "/api/v1/query"
        else:
            # The first step ends a step after the beginning, so that it holds what came within it.
            query = f"last_over_time({selector}[{self._step_ms}ms])"
            last = begin + (end - 1 - begin) // self._step_ms * self._step_ms
            parameters = [("query", query), ("start", _seconds(begin)), ("end", _seconds(last))]
            parameters.append(("step", _seconds(self._step_ms)))
            path = "/api/v1/query_range"
        # Sooner than we lose patience, so that it says so, and less is asked for.
        parameters.append(("timeout", f"{max(1, duration_ms(self._source.timeout) * 4 // 5)}ms"))
        try:
            data = msgspec.json.decode(self._asked(path, parameters), type=_Data)
        except msgspec.ValidationError as error:
            message = f"{self.name}: answers what Prometheus does not: {error}"
            raise BadInput(message) from error
        if data.result_type != "matrix":
            message = f"{self.name}: answers with a {data.result_type}; allowed: a matrix, as Prometheus does"
            raise BadInput(message)
        return self._taken(name, data.result, begin, end)

    def _taken(self, name: str, found: list[_Series], begin: int, end: int) -> Samples:
        self.told.lost[HISTOGRAMS] += sum(len(series.histograms) for series in found)
        raw = [bytes(series.values) for series in found]
        counts = [one.count(b"[") - 1 for one in raw]
        # `[[1773314400.1,"1"],[1773314410.1,"2"]]` of all series at once: what is left is numbers and commas.
        text = b",".join(one for one, count in zip(raw, counts, strict=True) if count).translate(None, b'[]" \n')
        try:
            pairs = _numbers(text).reshape(sum(counts), 2)
        except ValueError as error:
            message = f"{self.name}: {name}: answers with values that are no numbers, as in {text[:80].decode()!r}"
            raise BadInput(message) from error
        time, value = np.rint(pairs[:, 0] * 1_000).astype(np.int64), pairs[:, 1]
        of = np.repeat(np.arange(len(found), dtype=np.int32), counts)
        inside = (time >= begin) & (time < end)
        series = of[inside]
        return Samples(time[inside], value[inside], self._labels(name, [each.metric for each in found], series))

    def _labels(self, name: str, metrics: list[dict[str, str]], series: NDArray[np.int32]) -> dict[str, LabelColumn]:
        """Return the labels of samples, given by their series [row]."""
        source = self._source
        rows = len(series)
        columns = {"metric": LabelColumn(np.zeros(rows, np.int32), [name])}
        theirs = {label for metric in metrics for label in metric if label != "__name__"}
        chosen = {label: source.ours(label) for label in sorted(theirs)}
        if source.labels is not None:
            chosen = {label: own for label, own in chosen.items() if own in (*source.labels, "colo")}
        for label, own in chosen.items():
            if own in ("time", "value", "metric") or own in columns:
                message = (
                    f"{self.name}: {name} has a label {quoted(label)}, and a recording has a column {own!r} of another "
                    f"meaning; allowed: another name for it, as by --column other_{own}={label}, or --label for those "
                    "that are wanted"
                )
                raise BadInput(message)
            texts = [metric.get(label, "") for metric in metrics]
            values = list(dict.fromkeys(texts))
            place = {text: code for code, text in enumerate(values)}
            columns[own] = LabelColumn(np.array([place[text] for text in texts], np.int32)[series], values)
        columns.setdefault("colo", LabelColumn(np.full(rows, -1, np.int32), []))
        return columns

    def _asked(self, path: str, parameters: list[tuple[str, str]], *, is_get: bool = False) -> bytes:
        """Ask, and return the data of a whole answer."""
        ask = self._http.get if is_get else self._http.post
        trouble = ""
        for _ in range(_ATTEMPTS_MAX):
            try:
                answer = ask(path, parameters)
            except TooLarge as error:
                message = "an answer of more than 64 MB"
                raise _TooMuch(message) from error
            try:
                said = msgspec.json.decode(answer.body, type=_Answer)
            except msgspec.DecodeError as error:
                if answer.status != 200:
                    raise BadInput(self._refused(answer, answer.beginning)) from error
                trouble = f"ended in the middle of its answer, or it is no JSON: {error}"
                continue
            return self._whole(answer, said)
        message = f"{self.name}: {trouble}; tried {_ATTEMPTS_MAX} times"
        raise Unreachable(message)

    def _whole(self, answer: Answer, said: _Answer) -> bytes:
        """Return the data of an answer that is whole."""
        if said.status != "success" or answer.status != 200:
            if said.error_type == "timeout" or _TOO_MUCH.search(said.error.lower()):
                raise _TooMuch(said.error)
            raise BadInput(self._refused(answer, f"{said.error_type}: {said.error}"))
        if said.warnings:
            message = f"{self.name}: answers in part, and warns: {'; '.join(said.warnings[:5])}; a part is not recorded"
            raise BadInput(message)
        return bytes(said.data)

    def _refused(self, answer: Answer, text: str) -> str:
        hints = {
            401: "; --bearer-token-file, or --username and --password-file, say who asks",
            403: "; whoever asks may not",
            404: "; allowed: an address under which /api/v1/query is",
        }
        is_moved = 300 <= answer.status < 400
        hint = "; allowed: the address that it is at now" if is_moved else hints.get(answer.status, "")
        return f"{self.name}: refuses with status {answer.status}: {text or 'nothing more'}{hint}"


@contextmanager
def prometheus(source: PrometheusSource) -> Generator[Server]:
    """Open a Prometheus; see `holdfast.recording.opening.opened`."""
    http = Http(source, _is_final)
    try:
        yield Server(http, source)
    finally:
        http.close()


def _selector(name: str, wanted: Selector) -> str:
    r"""Write a selector in PromQL.

    Examples
    --------
    >>> _selector("up", {"colo": ["ams*", "fra02"], "job": "edge"})
    '{__name__="up",colo=~"ams.*|fra02",job="edge"}'
    """
    parts = [f"__name__={_literal(name)}"] if name else []
    for label, found in wanted.items():
        texts = [found] if isinstance(found, str) else found
        if len(texts) == 1 and not _is_glob(texts[0]):
            parts.append(f"{label}={_literal(texts[0])}")
        else:
            parts.append(f"{label}=~{_literal('|'.join(_pattern(text) for text in texts))}")
    return f"{{{','.join(parts)}}}"


def _is_glob(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _pattern(glob: str) -> str:
    """Write a glob as a regular expression of RE2."""
    signs: list[str] = []
    at = 0
    while at < len(glob):
        sign, at = glob[at], at + 1
        end = glob.find("]", at + 1) if sign == "[" else -1
        if sign in "*?":
            signs.append(".*" if sign == "*" else ".")
        elif end > 0:
            inside = glob[at:end].replace("\\", "\\\\").replace("[", "\\[")
            signs.append(f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]")
            at = end + 1
        else:
            signs.append(re.escape(sign))
    return "".join(signs)


def _literal(text: str) -> str:
    r"""Write a text as PromQL reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _numbers(text: bytes) -> NDArray[np.float64]:
    """Read numbers with commas between them; `ValueError` if there is anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # so numpy says that it read a part
        try:
            return np.fromstring(text.decode("ascii"), np.float64, sep=",") if text else np.empty(0)
        except DeprecationWarning as error:
            raise ValueError(str(error)) from error


def _is_final(answer: Answer) -> bool:
    """Tell whether a query failed for what it asks: it took too long, or was too much."""
    text = answer.body[:10_000].decode(errors="replace").lower()
    return '"errortype":"timeout"' in text or _TOO_MUCH.search(text) is not None


def _seconds(time_ms: int) -> str:
    """Write milliseconds as seconds, exactly."""
    return f"{time_ms // 1_000}.{time_ms % 1_000:03d}"
