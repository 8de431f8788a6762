"""The messages on the topics: their JSON Schemas, and checking them before they are sent.

How Spark reads questions by the same rules is in `reading`.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import regex  # type: ignore[import-untyped]

VERSION = 1
MOST_BYTES = 262_144
"""Longest question message. An escaped character takes up to 12 bytes; metadata needs room."""

_SCHEMAS = Path(__file__).with_name("schemas")
QUESTION_SCHEMA: dict[str, Any] = json.loads(
    (_SCHEMAS / f"question.v{VERSION}.json").read_text(encoding="utf-8")
)
ANSWER_SCHEMA: dict[str, Any] = json.loads(
    (_SCHEMAS / f"answer.v{VERSION}.json").read_text(encoding="utf-8")
)
TEXTS: dict[str, Mapping[str, Any]] = {
    name: QUESTION_SCHEMA["properties"][name] for name in QUESTION_SCHEMA["required"]
}
"""The fields that a question must have, all of them text, with their `pattern` and `maxLength`."""


class MessageError(ValueError):
    """A message that does not follow its schema."""


def validate_question(message: Mapping[str, Any]) -> None:
    """Check a question before it is sent.

    Raises:
        MessageError: it does not follow `QUESTION_SCHEMA`; names the field.
    """
    error = next(_validator("question").iter_errors(message), None)
    if error is not None:
        raise MessageError(f"question {message.get('id')!r}: {_told(error)}")


def question_bytes(message: Mapping[str, Any]) -> bytes:
    """A question as it is sent.

    Raises:
        MessageError: it does not follow `QUESTION_SCHEMA`, or is longer than `MOST_BYTES`.
    """
    validate_question(message)
    try:
        value = json.dumps(message, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # half a surrogate pair, or NaN in a field of the sender's own
        raise MessageError(f"question {message.get('id')!r}: {error}") from None
    if len(value) > MOST_BYTES:
        raise MessageError(
            f"question {message.get('id')!r}: {len(value)} bytes, at most {MOST_BYTES} are read"
        )
    return value


def answer_bytes(message: Mapping[str, Any]) -> bytes:
    """An answer as it is sent.

    Raises:
        MessageError: it does not follow `ANSWER_SCHEMA`: the model, or the code, is at fault.
    """
    error = next(_validator("answer").iter_errors(message), None)
    if error is not None:
        raise MessageError(f"answer to {message.get('id')!r}: {_told(error)}")
    return json.dumps(message, ensure_ascii=False, allow_nan=False).encode()


def _told(error: jsonschema.ValidationError) -> str:
    return f"{'.'.join(map(str, error.path)) or 'the message'}: {error.message[:300]}"


@cache
def _validator(kind: str) -> Any:
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})
    return validator({"question": QUESTION_SCHEMA, "answer": ANSWER_SCHEMA}[kind])


def _pattern(_: Any, pattern: str, text: Any, __: Any) -> Any:
    r"""Patterns as JSON Schema means them: Python's own `re` knows no `\p{L}`."""
    if isinstance(text, str) and not regex.search(pattern, text):
        yield jsonschema.ValidationError(f"{text[:80]!r} does not match {pattern!r}")
