"""Reads the bytes of a request, and the reasons for which a message becomes a dead letter.

JSON is read strictly (RFC 8259), which Python does not do by itself; the fields follow
`MessageSchemas.request`.
"""

import json
from dataclasses import dataclass
from typing import Any, NoReturn

import jsonschema

from qa_assets.streaming.messages import MAX_REQUEST_BYTES, VERSION, MessageSchemas

EMPTY = "empty message"
TOO_LARGE = f"message is larger than {MAX_REQUEST_BYTES} bytes"
NOT_UTF8 = "not UTF-8"
NOT_JSON = "not one JSON object"
LONE_SURROGATE = "half a surrogate pair, which is no character"
REPEATED_FIELD = "a field occurs twice"
WRONG_TYPE = "a field has another type than in the schema"
WRONG_VERSION = f"version is not {VERSION}"


def missing(field: str) -> str:
    """The reason for a required field that is absent, or does not match its pattern."""
    return f"{field} is missing or holds no text"


def too_long(field: str, max_length: int) -> str:
    """The reason for a field of more characters than its schema allows."""
    return f"{field} is longer than {max_length} characters"


class UnreadableRequestError(ValueError):
    """A message that is no request; its text is the reason, one of those of this module."""


@dataclass(frozen=True)
class Request:
    """What a message asks: its id, a text for each of the task's inputs, and its metadata."""

    id: str
    inputs: dict[str, str]
    metadata: dict[str, str] | None


def read_request(schemas: MessageSchemas, value: bytes | None) -> Request:
    """Read a message; `UnreadableRequestError` where it breaks the rules."""
    if not value:
        raise UnreadableRequestError(EMPTY)
    if len(value) > MAX_REQUEST_BYTES:
        raise UnreadableRequestError(TOO_LARGE)
    message = _read_json(value)
    if message.repeats or getattr(message.get("metadata"), "repeats", False):
        raise UnreadableRequestError(REPEATED_FIELD)
    reasons = [_reason(schemas, error) for error in schemas.request_errors(message)]
    if reasons:
        raise UnreadableRequestError(min(reasons)[-1])
    inputs = {name: message[name] for name in schemas.text_fields if name != "id"}
    return Request(message["id"], inputs, message.get("metadata"))


class _Object(dict[str, Any]):
    """A JSON object, which knows whether a name occurs twice in it."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeats = len(self) < len(pairs)


def _read_json(value: bytes) -> _Object:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise UnreadableRequestError(NOT_UTF8) from None
    try:
        message = _DECODER.decode(text)
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UnreadableRequestError(LONE_SURROGATE) from None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, _Object):
        raise UnreadableRequestError(NOT_JSON)
    return message


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# numbers are not used, and Python refuses to read long integers
_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=float, parse_constant=_refuse)


def _reason(schemas: MessageSchemas, error: jsonschema.ValidationError) -> tuple[int, int, str]:
    """The reason for an error of the schema, behind its place among several."""
    fields, path = list(schemas.text_fields), list(error.path)
    if error.validator == "required":
        path = [next(name for name in fields if name not in error.instance)]
    number = fields.index(path[0]) if path[0] in fields else None
    if number is not None:
        if error.validator in ("required", "pattern") or error.instance is None:
            return 2, number, missing(fields[number])
        if error.validator == "maxLength":
            return 3, number, too_long(fields[number], error.validator_value)
    elif error.validator == "enum" and isinstance(error.instance, float):
        return 1, 0, WRONG_VERSION
    return 0, 0, WRONG_TYPE
