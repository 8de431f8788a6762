"""Whether none was lost, none told twice and none changed, by the table and by the topics."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qa_assets.streaming.config import KafkaSettings
from qa_assets.streaming.responses import DEAD_LETTER
from qa_assets.streaming.table import read_answers
from qa_assets_tests.streaming.readers import read_committed

Place = tuple[int, int]
_TOLD = ("id", "answer", "duplicate", "partition", "offset")


@dataclass(frozen=True)
class Outcome:
    """What a consumer made of the questions: of each place, all that was told of it."""

    table: dict[Place, list[Any]]
    answers: dict[Place, list[Any]]
    letters: dict[Place, list[Any]]


def outcome(kafka: KafkaSettings, out: Path, topic_id: str) -> Outcome:
    """Read the table, and the topics in `read_committed`."""
    rows = json.loads(read_answers(out, topic_id)[list(_TOLD)].to_json(orient="records"))
    told = [json.loads(one.value()) for one in read_committed(kafka, kafka.answers_topic)]
    letters: dict[Place, list[Any]] = {}
    for message in read_committed(kafka, kafka.dead_letter_topic):
        said = {key: value.decode() for key, value in message.headers()}
        place = tuple(int(said[f"{DEAD_LETTER}{name}"]) for name in ("partition", "offset"))
        letters.setdefault(place, []).append((message.value(), said[f"{DEAD_LETTER}reason"]))  # type: ignore[arg-type]
    return Outcome(_by_place(rows), _by_place(told), letters)


def violations(
    kafka: KafkaSettings, topic_id: str, good: set[bytes], broken: Outcome, whole: Outcome
) -> Counter[str]:
    """Count what went wrong; empty if nothing did.

    Args:
        kafka: the topic of questions.
        topic_id: its id.
        good: the values that can be read.
        broken: what came of the runs that were killed.
        whole: of one that was not.
    """
    found: Counter[str] = Counter()
    for message in read_committed(kafka, kafka.questions_topic):
        place = (message.partition(), message.offset())
        readable = message.value() in good
        for kind in ("table", "answers", "letters"):
            said, expected = (
                getattr(broken, kind).pop(place, []),
                getattr(whole, kind).pop(place, []),
            )
            due = int(readable == (kind != "letters"))
            found[f"{kind}: lost"] += len(said) < due
            found[f"{kind}: twice"] += len(said) > due
            found[f"{kind}: changed"] += said[:1] != expected[:1]
            found[f"{kind}: wrong in the unbroken run"] += len(expected) != due
            if kind == "letters" and said:
                found["letters: other bytes"] += said[0][0] != message.value()
    for kind in ("table", "answers", "letters"):
        found[f"{kind}: of no question"] += len(getattr(broken, kind))
    return +found


def _by_place(rows: list[dict[str, Any]]) -> dict[Place, list[Any]]:
    places: dict[Place, list[Any]] = {}
    for row in rows:
        said = {name: row[name] for name in _TOLD}
        places.setdefault((row["partition"], row["offset"]), []).append(said)
    return places
