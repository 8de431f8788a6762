"""What is checked before it is sent, by the JSON Schemas."""

import json
from datetime import UTC, datetime
from typing import Any, ClassVar

import jsonschema
import pytest

from qa_assets.core.descriptions import Messages
from qa_assets.streaming.messages import MAX_REQUEST_BYTES, MessageError, MessageSchemas
from qa_assets.tasks.question_answering import TASK
from qa_assets_tests.streaming.bad_messages import ALIVE, DEAD, GOOD, SCHEMAS, readable

ANSWER: dict[str, Any] = {
    "version": 1, "id": "1", "answer": "Ada", "confidence": 0.5, "model_version": "v",
    "topic": "questions", "partition": 0, "offset": 7, "duplicate": False,
    "asked_at": datetime(2026, 1, 2, tzinfo=UTC).isoformat(),
    "answered_at": datetime(2026, 1, 2, tzinfo=UTC).isoformat(),
}  # fmt: skip
_LETTER = r"[\p{L}\p{N}]"
# question.v1.json and answer.v1.json as they were published, without what does not validate
QUESTION_V1: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["id", "question", "context"],
    "properties": {
        "id": {"type": "string", "pattern": r"[^\p{Z}\p{Cc}]", "maxLength": 500},
        "question": {"type": "string", "pattern": _LETTER, "maxLength": 1000},
        "context": {"type": "string", "pattern": _LETTER, "maxLength": 6000},
        "metadata": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        "version": {"enum": [1, None]},
    },
}
ANSWER_V1: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": [
        "version", "id", "answer", "confidence", "model_version", "topic", "partition", "offset",
        "duplicate", "asked_at", "answered_at",
    ],
    "properties": {
        "version": {"const": 1},
        "id": {"type": "string"},
        "answer": {"type": ["string", "null"], "minLength": 1},
        "confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "model_version": {"type": "string"},
        "topic": {"type": "string"},
        "partition": {"type": "integer", "minimum": 0},
        "offset": {"type": "integer", "minimum": 0},
        "duplicate": {"type": "boolean"},
        "asked_at": {"type": "string", "format": "date-time"},
        "answered_at": {"type": "string", "format": "date-time"},
    },
    "additionalProperties": False,
}  # fmt: skip


def _without_annotations(schema: dict[str, Any]) -> dict[str, Any]:
    rules = {
        name: {key: value for key, value in rule.items() if key != "description"}
        for name, rule in schema["properties"].items()
    }
    top = {key: schema[key] for key in schema.keys() - {"$id", "title", "description"}}
    return top | {"properties": rules}


def test_question_answering_has_the_messages_that_were_published() -> None:
    assert _without_annotations(SCHEMAS.request) == QUESTION_V1
    assert _without_annotations(SCHEMAS.response) == ANSWER_V1
    assert list(SCHEMAS.request["properties"]) == list(QUESTION_V1["properties"])
    assert list(SCHEMAS.response["properties"]) == list(ANSWER_V1["properties"])


@pytest.mark.parametrize("schema", [SCHEMAS.request, SCHEMAS.response])
def test_the_schemas_are_schemas(schema: dict[str, Any]) -> None:
    # without formats: Python's `re` would be asked whether it knows the patterns
    formats = jsonschema.FormatChecker(formats=())
    jsonschema.Draft202012Validator.check_schema(schema, format_checker=formats)


@pytest.mark.parametrize(
    ("inputs", "outputs", "error"),
    [
        ({"offset": GOOD}, {}, r"reserved names: \['offset'\]"),
        ({}, {"model_version": {"type": "string"}}, r"reserved names: \['model_version'\]"),
        ({"text": {"type": "string", "maxLength": 9}}, {}, "'text' needs type, pattern"),
        (
            {"text": {"type": "string", "pattern": "a", "maxLength": 9, "minLength": 2}},
            {},
            "'text'",
        ),
    ],
)
def test_a_task_whose_fields_cannot_be_messages_is_refused(
    inputs: dict[str, Any], outputs: dict[str, Any], error: str
) -> None:
    class Refused(TASK):
        messages: ClassVar = Messages(inputs, outputs, (), {})

    with pytest.raises(ValueError, match=error):
        MessageSchemas(Refused())


@pytest.mark.parametrize("value", ALIVE.values(), ids=ALIVE)
def test_the_producer_takes_what_is_good(value: bytes) -> None:
    SCHEMAS.validate_request(json.loads(value))


@pytest.mark.parametrize("value", [value for value, _ in DEAD.values()], ids=DEAD)
def test_what_spark_refuses_the_schema_or_json_does(value: bytes | None) -> None:
    assert not readable(value)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"id": ""}, "id"), ({"question": " "}, "question"), ({"context": 5}, "context"),
     ({"metadata": {"a": 1}}, "metadata.a"), ({"version": 2}, "version")],
)  # fmt: skip
def test_the_producer_names_the_field_that_is_not(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MessageError, match=rf"^question .*: {field}: "):
        SCHEMAS.validate_request(GOOD | change)


def test_what_cannot_be_written_or_is_too_large_is_not_sent() -> None:
    with pytest.raises(MessageError, match="surrogates not allowed"):
        SCHEMAS.request_bytes(GOOD | {"question": "who \ud800?"})
    with pytest.raises(MessageError, match=f"at most {MAX_REQUEST_BYTES}"):
        SCHEMAS.request_bytes(GOOD | {"metadata": {"a": "x" * MAX_REQUEST_BYTES}})


@pytest.mark.parametrize(
    ("change", "field"),
    [({"confidence": 1.5}, "confidence"), ({"answer": ""}, "answer"), ({"offset": -1}, "offset"),
     ({"more": 1}, "the message"), ({"duplicate": None}, "duplicate")],
)  # fmt: skip
def test_no_response_is_sent_that_does_not_follow_the_schema(
    change: dict[str, Any], field: str
) -> None:
    assert json.loads(SCHEMAS.response_bytes(ANSWER)) == ANSWER
    with pytest.raises(MessageError, match=rf"answer to '1': {field}: "):
        SCHEMAS.response_bytes(ANSWER | change)
