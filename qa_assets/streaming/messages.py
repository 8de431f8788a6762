"""The messages on the topics: their JSON Schemas, how Spark reads them, why one is not read."""

from collections.abc import Mapping
from functools import cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import StructType

VERSION = 1
# an encoder's memory grows with the square of the length: 2 GB at 4,096 tokens of Flan-T5-small
MOST_CHARACTERS = {"id": 500, "question": 1_000, "context": 6_000}

QUESTION_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A question about a text",
    "type": "object",
    "required": ["id", "question", "context"],
    "properties": {
        **{
            name: {"type": "string", "pattern": r"\S", "maxLength": most}
            for name, most in MOST_CHARACTERS.items()
        },
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "version": {"const": VERSION},
    },
}
ANSWER_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "The answer to a question; null: the text does not hold it",
    "type": "object",
    "required": [
        "id", "answer", "model_version", "topic", "partition", "offset", "asked_at", "answered_at",
    ],
    "properties": {
        "id": {"type": "string"},
        "answer": {"type": ["string", "null"]},
        "model_version": {"type": "string"},
        "topic": {"type": "string"},
        "partition": {"type": "integer", "minimum": 0},
        "offset": {"type": "integer", "minimum": 0},
        "asked_at": {"type": "string", "format": "date-time"},
        "answered_at": {"type": "string", "format": "date-time"},
    },
    "additionalProperties": False,
}  # fmt: skip

EMPTY = "empty message"
NOT_UTF8 = "not UTF-8"
NOT_JSON = "not one JSON object"
WRONG_TYPE = "a field has another type than in the schema"
WRONG_VERSION = f"version is not {VERSION}"
MISSING = {name: f"{name} is missing or blank" for name in MOST_CHARACTERS}
TOO_LONG = {
    name: f"{name} is longer than {most} characters" for name, most in MOST_CHARACTERS.items()
}
REASONS = (
    EMPTY,
    NOT_UTF8,
    NOT_JSON,
    WRONG_TYPE,
    WRONG_VERSION,
    *MISSING.values(),
    *TOO_LONG.values(),
)
"""All that a dead letter's `reason` header may say."""

_CORRUPT = "_corrupt"


class MessageError(ValueError):
    """A message that does not follow its schema."""


def validate_question(message: Mapping[str, Any]) -> None:
    """Check a question before it is sent.

    Raises:
        MessageError: it does not follow `QUESTION_SCHEMA`; names the field.
    """
    error = next(_question_validator().iter_errors(message), None)
    if error is not None:
        field = ".".join(map(str, error.path)) or "the message"
        raise MessageError(f"question {message.get('id')!r}: {field}: {error.message}")


@cache
def _question_validator() -> Any:
    return jsonschema.Draft202012Validator(QUESTION_SCHEMA)


def question_type() -> "StructType":
    """A question as Spark reads it, which takes a number, where a text is wanted, for its text."""
    from pyspark.sql.types import IntegerType, MapType, StringType, StructType

    return (
        StructType()
        .add("id", StringType())
        .add("question", StringType())
        .add("context", StringType())
        .add("metadata", MapType(StringType(), StringType()))
        .add("version", IntegerType())
        .add(_CORRUPT, StringType())
    )


def parse_question(value: "Column") -> "Column":
    """The bytes of a message -> the struct of `question_type`; null where it is not JSON."""
    from pyspark.sql import functions as sf

    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    return sf.from_json(sf.decode(value, "UTF-8"), question_type(), options)


def why_dead(value: "Column", parsed: "Column") -> "Column":
    """One of `REASONS` for a message that cannot be answered, null for one that can.

    Args:
        value: its bytes.
        parsed: `parse_question(value)`.
    """
    from pyspark.sql import functions as sf

    text = sf.decode(value, "UTF-8")
    # alone, Spark reads the first object and leaves what follows it
    objects = sf.from_json(sf.concat(sf.lit("["), text, sf.lit("]")), "array<map<string,string>>")
    one_object = sf.coalesce(sf.size(objects) == 1, sf.lit(False)) & text.rlike(r"^\s*\{")
    # ... and an array or an object, where a text is wanted, for its JSON text
    others = [
        sf.from_json(text, ", ".join(f"{name} {kind}" for name in MISSING))[name].isNotNull()
        for kind in ("array<string>", "map<string,string>")
        for name in MISSING
    ]
    wrong_type = reduce(or_, others, parsed[_CORRUPT].isNotNull())
    reason = (
        sf.when(value.isNull() | (sf.length(value) == 0), EMPTY)
        .when(sf.encode(text, "UTF-8") != value, NOT_UTF8)
        .when(~one_object | parsed.isNull(), NOT_JSON)
        .when(wrong_type, WRONG_TYPE)
        .when(sf.coalesce(parsed["version"], sf.lit(VERSION)) != VERSION, WRONG_VERSION)
    )
    for name, missing in MISSING.items():
        reason = reason.when(~sf.coalesce(parsed[name].rlike(r"(?U)\S"), sf.lit(False)), missing)
    for name, too_long in TOO_LONG.items():
        reason = reason.when(sf.length(parsed[name]) > MOST_CHARACTERS[name], too_long)
    return reason
