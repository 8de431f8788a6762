"""The two readings of a question, the producer's and Spark's, and why one is refused."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from qa_assets.streaming import messages
from qa_assets.streaming.messages import MessageError, parse_question, validate_question, why_dead

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GOOD = {"id": "1", "question": "Who?", "context": "Ada."}
DEAD: dict[str, tuple[bytes | None, str]] = {
    "null": (None, messages.EMPTY),
    "empty": (b"", messages.EMPTY),
    "bytes": (b'{"id": "\xff\xfe", "question": "q", "context": "c"}', messages.NOT_UTF8),
    "text": (b"hello", messages.NOT_JSON),
    "cut": (b'{"id": "1", "question": "Wh', messages.NOT_JSON),
    "array": (json.dumps([GOOD]).encode(), messages.NOT_JSON),
    "two": (json.dumps(GOOD).encode() * 2, messages.NOT_JSON),
    "trailing": (json.dumps(GOOD).encode() + b" x", messages.NOT_JSON),
    "number": (b"7", messages.NOT_JSON),
    "no id": (b'{"question": "q", "context": "c"}', messages.MISSING["id"]),
    "null question": (json.dumps(GOOD | {"question": None}).encode(), messages.MISSING["question"]),
    "blank": (json.dumps(GOOD | {"context": " \u00a0\n"}).encode(), messages.MISSING["context"]),
    "array field": (json.dumps(GOOD | {"question": ["a"]}).encode(), messages.WRONG_TYPE),
    "object field": (json.dumps(GOOD | {"context": {"a": 1}}).encode(), messages.WRONG_TYPE),
    "metadata": (json.dumps(GOOD | {"metadata": 5}).encode(), messages.WRONG_TYPE),
    "version text": (json.dumps(GOOD | {"version": "one"}).encode(), messages.WRONG_TYPE),
    "version": (json.dumps(GOOD | {"version": 2}).encode(), messages.WRONG_VERSION),
    **{
        f"long {name}": (
            json.dumps(GOOD | {name: "x" * (most + 1)}).encode(),
            messages.TOO_LONG[name],
        )
        for name, most in messages.MOST_CHARACTERS.items()
    },
}
ALIVE: dict[str, dict[str, Any]] = {
    "plain": GOOD,
    "longest": GOOD | {"context": "x" * messages.MOST_CHARACTERS["context"]},
    "more": GOOD | {"metadata": {"a": "b"}, "version": 1, "unknown": [1]},
    "unicode": GOOD | {"question": "Où est 東京?", "context": '[1] {"quoted"} \\ \n'},
}


def test_spark_reads_what_is_good_and_says_why_what_is_not_is_not(spark: "SparkSession") -> None:
    from pyspark.sql import functions as sf

    values = {name: value for name, (value, _) in DEAD.items()}
    values |= {name: json.dumps(message).encode() for name, message in ALIVE.items()}
    rows = [
        (name, bytearray(value) if value is not None else None) for name, value in values.items()
    ]
    read = (
        spark.createDataFrame(rows, "name string, value binary")
        .withColumn("parsed", parse_question(sf.col("value")))
        .withColumn("reason", why_dead(sf.col("value"), sf.col("parsed")))
        .collect()
    )
    reasons = {row["name"]: row["reason"] for row in read}
    assert reasons == {name: why for name, (_, why) in DEAD.items()} | dict.fromkeys(ALIVE)
    assert set(filter(None, reasons.values())) == set(messages.REASONS)
    parsed = {row["name"]: row["parsed"].asDict() for row in read if row["name"] in ALIVE}
    for name, message in ALIVE.items():
        assert {key: parsed[name][key] for key in GOOD} == {key: message[key] for key in GOOD}
    assert parsed["more"]["metadata"] == {"a": "b"}


@pytest.mark.parametrize("message", ALIVE.values(), ids=ALIVE)
def test_the_producer_takes_what_is_good(message: dict[str, Any]) -> None:
    validate_question(message)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"id": ""}, "id"), ({"question": " "}, "question"), ({"context": 5}, "context"),
     ({"metadata": {"a": 1}}, "metadata.a"), ({"version": 2}, "version")],
)  # fmt: skip
def test_the_producer_names_the_field_that_is_not(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MessageError, match=rf": {field}: "):
        validate_question(GOOD | change)
