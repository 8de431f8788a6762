"""The messages that a micro-batch publishes: responses, and dead letters with the original bytes.

Both keep the key and the headers of the request.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qa_assets.streaming.messages import VERSION
from qa_assets.streaming.publisher import OutgoingMessage

if TYPE_CHECKING:
    from qa_assets.streaming.config import StreamContext

DEAD_LETTER = "dead_letter."
"""Prefix of the headers `reason, topic, partition, offset` of a dead letter."""
_READ_BEFORE = "could not be read when its batch was answered"


def response_message(context: "StreamContext", row: Mapping[str, Any]) -> OutgoingMessage:
    """The response for a row of the table.

    Raises:
        MessageError: it does not follow the schema of responses.
    """
    times = {name: _iso(row[name]) for name in ("asked_at", "answered_at")}
    fields = {"version": VERSION, **row, **times}
    message = {name: fields[name] for name in context.schemas.response["properties"]}
    return OutgoingMessage(
        row["partition"],
        row["offset"],
        context.topics.responses,
        row["key"],
        context.schemas.response_bytes(message),
        _headers(row["headers"]),
    )


def dead_letter(context: "StreamContext", row: Any) -> OutgoingMessage:
    """The dead letter for a row of Spark's Kafka source that has a `reason`."""
    origin = {
        "reason": row["reason"] or _READ_BEFORE,
        "topic": row["topic"],
        "partition": row["partition"],
        "offset": row["offset"],
    }
    return OutgoingMessage(
        row["partition"],
        row["offset"],
        context.topics.dead_letters,
        _bytes(row["key"]),
        _bytes(row["value"]),
        [
            *_headers(row["headers"] or []),
            *((f"{DEAD_LETTER}{name}", str(value).encode()) for name, value in origin.items()),
        ],
    )


def _headers(headers: Iterable[Any]) -> list[tuple[str, bytes | None]]:
    return [(header["key"], _bytes(header["value"])) for header in headers]


def _bytes(value: bytearray | bytes | None) -> bytes | None:
    return None if value is None else bytes(value)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
