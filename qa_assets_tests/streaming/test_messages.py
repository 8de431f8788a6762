"""What is checked before it is sent, by the JSON Schemas."""

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest

from qa_assets.streaming.messages import (
    ANSWER_SCHEMA,
    MOST_BYTES,
    QUESTION_SCHEMA,
    MessageError,
    answer_bytes,
    question_bytes,
    validate_question,
)
from qa_assets_tests.streaming.bad_messages import ALIVE, DEAD, GOOD, readable

ANSWER: dict[str, Any] = {
    "version": 1, "id": "1", "answer": "Ada", "confidence": 0.5, "model_version": "v",
    "topic": "questions", "partition": 0, "offset": 7, "duplicate": False,
    "asked_at": datetime(2026, 1, 2, tzinfo=UTC).isoformat(),
    "answered_at": datetime(2026, 1, 2, tzinfo=UTC).isoformat(),
}  # fmt: skip


@pytest.mark.parametrize("schema", [QUESTION_SCHEMA, ANSWER_SCHEMA])
def test_the_schemas_are_schemas(schema: dict[str, Any]) -> None:
    # without formats: Python's `re` would be asked whether it knows the patterns
    formats = jsonschema.FormatChecker(formats=())
    jsonschema.Draft202012Validator.check_schema(schema, format_checker=formats)


@pytest.mark.parametrize("value", ALIVE.values(), ids=ALIVE)
def test_the_producer_takes_what_is_good(value: bytes) -> None:
    validate_question(json.loads(value))


@pytest.mark.parametrize("value", [value for value, _ in DEAD.values()], ids=DEAD)
def test_what_spark_refuses_the_schema_or_json_does(value: bytes | None) -> None:
    assert not readable(value)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"id": ""}, "id"), ({"question": " "}, "question"), ({"context": 5}, "context"),
     ({"metadata": {"a": 1}}, "metadata.a"), ({"version": 2}, "version")],
)  # fmt: skip
def test_the_producer_names_the_field_that_is_not(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MessageError, match=rf": {field}: "):
        validate_question(GOOD | change)


def test_what_cannot_be_written_or_is_too_large_is_not_sent() -> None:
    with pytest.raises(MessageError, match="surrogates not allowed"):
        question_bytes(GOOD | {"question": "who \ud800?"})
    with pytest.raises(MessageError, match=f"at most {MOST_BYTES}"):
        question_bytes(GOOD | {"metadata": {"a": "x" * MOST_BYTES}})


@pytest.mark.parametrize(
    ("change", "field"),
    [({"confidence": 1.5}, "confidence"), ({"answer": ""}, "answer"), ({"offset": -1}, "offset"),
     ({"more": 1}, "the message"), ({"duplicate": None}, "duplicate")],
)  # fmt: skip
def test_no_answer_is_sent_that_does_not_follow_the_schema(
    change: dict[str, Any], field: str
) -> None:
    assert json.loads(answer_bytes(ANSWER)) == ANSWER
    with pytest.raises(MessageError, match=rf"answer to '1': {field}: "):
        answer_bytes(ANSWER | change)
