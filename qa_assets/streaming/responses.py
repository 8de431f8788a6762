"""The messages that a batch sends: answers, and dead letters with the bytes that could not be read.

Both keep the key and the headers of the message that they are about.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qa_assets.streaming.messages import VERSION, answer_bytes
from qa_assets.streaming.publisher import Outgoing

if TYPE_CHECKING:
    from qa_assets.streaming.config import KafkaSettings

DEAD_LETTER = "dead_letter."
"""What the headers begin with that say of a dead letter `reason, topic, partition, offset`."""
_READ_BEFORE = "could not be read when its batch was answered"
_AS_THEY_ARE = (
    "id", "answer", "confidence", "model_version", "topic", "partition", "offset", "duplicate",
)  # fmt: skip


def answer_message(kafka: "KafkaSettings", row: Mapping[str, Any]) -> Outgoing:
    """The message for a row of the table.

    Raises:
        MessageError: it does not follow the schema of answers.
    """
    message = {
        "version": VERSION,
        **{name: row[name] for name in _AS_THEY_ARE},
        "asked_at": _iso(row["asked_at"]),
        "answered_at": _iso(row["answered_at"]),
    }
    return Outgoing(
        row["partition"],
        row["offset"],
        kafka.answers_topic,
        row["key"],
        answer_bytes(message),
        _headers(row["headers"]),
    )


def dead_letter(kafka: "KafkaSettings", row: Any) -> Outgoing:
    """The message for a row of Spark's Kafka source that has a `reason`."""
    said = {
        "reason": row["reason"] or _READ_BEFORE,
        "topic": row["topic"],
        "partition": row["partition"],
        "offset": row["offset"],
    }
    return Outgoing(
        row["partition"],
        row["offset"],
        kafka.dead_letter_topic,
        _bytes(row["key"]),
        _bytes(row["value"]),
        [
            *_headers(row["headers"] or []),
            *((f"{DEAD_LETTER}{name}", str(value).encode()) for name, value in said.items()),
        ],
    )


def _headers(headers: Iterable[Any]) -> list[tuple[str, bytes | None]]:
    return [(one["key"], _bytes(one["value"])) for one in headers]


def _bytes(value: bytearray | bytes | None) -> bytes | None:
    return None if value is None else bytes(value)


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
