"""Whether no response was lost, repeated or changed, by the table and by the topics."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.messages import DEAD_LETTER
from qa_assets.streaming.table import ResponseTable
from qa_assets_tests.streaming.readers import read_committed
from qa_assets_tests.streaming.stream import header

Position = tuple[int, int]
_COMPARED = ["id", "answer", "duplicate", "partition", "offset"]


@dataclass(frozen=True)
class Outcome:
    """All that a consumer wrote for each partition and offset."""

    table: dict[Position, list[Any]]
    responses: dict[Position, list[Any]]
    letters: dict[Position, list[Any]]


_KINDS = tuple(Outcome.__dataclass_fields__)


def outcome(context: StreamContext, out: Path, topic_id: str) -> Outcome:
    """Read the table, and the topics in `read_committed`."""
    table = ResponseTable(out, topic_id, context.task.messages).read(_COMPARED)
    rows = json.loads(table.to_json(orient="records"))
    responses = read_committed(context.kafka, context.topics.responses)
    letters: dict[Position, list[Any]] = {}
    for message in read_committed(context.kafka, context.topics.dead_letters):
        partition, offset = (
            int(header(message, f"{DEAD_LETTER}{name}")) for name in ("partition", "offset")
        )
        reason = header(message, f"{DEAD_LETTER}reason")
        letters.setdefault((partition, offset), []).append((message.value(), reason))
    return Outcome(
        _by_position(rows),
        _by_position([json.loads(response.value() or b"") for response in responses]),
        letters,
    )


def violations(
    context: StreamContext, good: set[bytes], killed: Outcome, undisturbed: Outcome
) -> Counter[str]:
    """Count what went wrong; empty if nothing did.

    Args:
        context: the stream, for its requests.
        good: the values that can be read.
        killed: the outcome of the runs that were killed.
        undisturbed: that of a run that was not.
    """
    counts: Counter[str] = Counter()
    for message in read_committed(context.kafka, context.topics.requests):
        position = (message.partition(), message.offset())
        readable = message.value() in good
        for kind in _KINDS:
            actual = getattr(killed, kind).pop(position, [])
            expected = getattr(undisturbed, kind).pop(position, [])
            due = int(readable == (kind != "letters"))
            counts[f"{kind}: lost"] += len(actual) < due
            counts[f"{kind}: twice"] += len(actual) > due
            counts[f"{kind}: changed"] += actual[:1] != expected[:1]
            counts[f"{kind}: wrong in the undisturbed run"] += len(expected) != due
            if kind == "letters" and actual:
                counts["letters: other bytes"] += actual[0][0] != message.value()
    for kind in _KINDS:
        counts[f"{kind}: of no request"] += len(getattr(killed, kind))
    return +counts


def _by_position(rows: list[dict[str, Any]]) -> dict[Position, list[Any]]:
    positions: dict[Position, list[Any]] = {}
    for row in rows:
        fields = {name: row[name] for name in _COMPARED}
        positions.setdefault((row["partition"], row["offset"]), []).append(fields)
    return positions
