"""The messages on the topics: JSON Schemas of requests and responses, dead letters, serialisation.

A message is an envelope, the same for every task, around the fields of the task (`Task.messages`).
How bytes are read as requests is in `parsing`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jsonschema
import regex  # type: ignore[import-untyped]

from qa_assets.core.task import Task

VERSION = 1
"""Of the envelope."""
MAX_REQUEST_BYTES = 262_144
"""Of a readable request; an escaped character takes up to 12 bytes."""
DEAD_LETTER = "dead_letter."
"""Prefix of the headers `reason, topic, partition, offset` of a dead letter."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ID = {
    "description": "The sender's name for the request; need not be unique.",
    "type": "string",
    "pattern": r"[^\p{Z}\p{Cc}]",
    "maxLength": 500,
}
_REQUEST_ENVELOPE = {
    "metadata": {
        "description": "Kept with the response in the table.",
        "type": ["object", "null"],
        "additionalProperties": {"type": "string"},
    },
    "version": {
        "description": "Of this schema; a message without one is taken for this one.",
        "enum": [VERSION, None],
    },
}
_POSITION = {"type": "integer", "minimum": 0}
_TIME = {"type": "string", "format": "date-time"}
_RESPONSE_ENVELOPE = {
    "model_version": {"description": "Data version of the model.", "type": "string"},
    "topic": {"description": "Of the request, like partition and offset.", "type": "string"},
    "partition": _POSITION,
    "offset": _POSITION,
    "duplicate": {
        "description": "Whether a request of the same id was answered before this one.",
        "type": "boolean",
    },
    "asked_at": {"description": "The request's timestamp on its topic, UTC.", **_TIME},
    "answered_at": {"description": "When the model had answered it, UTC.", **_TIME},
}
_COLUMNS = {"id", "key", "headers", "prediction", "batch_id", "topic_id"}  # of the table
RESERVED = _COLUMNS | _REQUEST_ENVELOPE.keys() | _RESPONSE_ENVELOPE.keys()
"""Fields of the envelope, and columns of the table: a task's fields have other names."""


class MessageError(ValueError):
    """A message that does not follow its schema; the message names the field."""


class MessageSchemas:
    """The messages of a task.

    Attributes:
        request: JSON Schema of a request.
        response: JSON Schema of a response.
        text_fields: the required fields of a request: id and the task's inputs.
    """

    def __init__(self, task: Task) -> None:
        """Build the schemas.

        Raises:
            ValueError: a field of the task has a reserved name, or a rule that `parsing` has no
                reason for.
        """
        inputs, outputs = task.messages.inputs, task.messages.outputs
        if clash := RESERVED & (inputs.keys() | outputs.keys()):
            raise ValueError(f"{task.name}: message fields with reserved names: {sorted(clash)}")
        for name, rule in inputs.items():
            if rule.keys() - {"description"} != {"type", "pattern", "maxLength"}:
                raise ValueError(
                    f"{task.name}: the input {name!r} needs type, pattern and maxLength, and "
                    "can have no other rule: `parsing` has a reason for no other"
                )
        self._words = words = task.words
        self.text_fields: dict[str, Mapping[str, Any]] = {"id": _ID, **inputs}
        self.request: dict[str, Any] = {
            "$schema": _DIALECT,
            "$id": f"{words.request}.v{VERSION}.json",
            "title": words.request.capitalize(),
            "description": f"UTF-8, at most {MAX_REQUEST_BYTES} bytes. No field occurs twice. "
            "Fields that are not named here are left unread.",
            "type": "object",
            "required": list(self.text_fields),
            "properties": {**self.text_fields, **_REQUEST_ENVELOPE},
        }
        properties = {
            "version": {"description": "Of this schema.", "const": VERSION},
            "id": {"description": f"That of the {words.request}.", "type": "string"},
            **outputs,
            **_RESPONSE_ENVELOPE,
        }
        self.response: dict[str, Any] = {
            "$schema": _DIALECT,
            "$id": f"{words.response}.v{VERSION}.json",
            "title": words.response.capitalize(),
            "description": f"One for each readable {words.request}, under the key and with the "
            "headers of that message.",
            "type": "object",
            "required": list(properties),
            "properties": properties,
            "additionalProperties": False,
        }
        self._request_validator = _Validator(self.request)
        self._response_validator = _Validator(self.response)

    def validate_request(self, message: Mapping[str, Any]) -> None:
        """Check a request before it is sent; a MessageError if it does not follow the schema."""
        _validate(self._request_validator, message, f"{self._words.request} {message.get('id')!r}")

    def request_errors(self, message: Mapping[str, Any]) -> Iterator[jsonschema.ValidationError]:
        """What breaks the schema of requests."""
        errors: Iterator[jsonschema.ValidationError] = self._request_validator.iter_errors(message)
        return errors

    def request_bytes(self, message: Mapping[str, Any]) -> bytes:
        """A request as it is sent.

        Raises:
            MessageError: it does not follow the schema, or is longer than `MAX_REQUEST_BYTES`.
        """
        self.validate_request(message)
        name = f"{self._words.request} {message['id']!r}"
        try:
            value = json.dumps(message, ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:  # a lone surrogate, or NaN in a field that no schema names
            raise MessageError(f"{name}: {error}") from None
        if len(value) > MAX_REQUEST_BYTES:
            raise MessageError(f"{name}: {len(value)} bytes, at most {MAX_REQUEST_BYTES} are read")
        return value

    def response_bytes(self, message: Mapping[str, Any]) -> bytes:
        """A response as it is sent.

        Raises:
            MessageError: it does not follow the schema: the model, or the code, is at fault.
        """
        name = f"{self._words.response} to {message.get('id')!r}"
        _validate(self._response_validator, message, name)
        return json.dumps(message, ensure_ascii=False, allow_nan=False).encode()


def response_message(schemas: MessageSchemas, topic: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The response for a row of the table, as arguments of `Producer.produce`."""
    fields = {"version": VERSION, **row}
    for name in ("asked_at", "answered_at"):
        fields[name] = row[name].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = {name: fields[name] for name in schemas.response["properties"]}
    return _outgoing(topic, schemas.response_bytes(message), row)


def dead_letter(topic: str, row: Any) -> dict[str, Any]:
    """The original message of a row of Spark's Kafka source, with reason and origin as headers."""
    origin = {name: row[name] for name in ("reason", "topic", "partition", "offset")}
    origin["reason"] = origin["reason"] or "could not be read when its batch was answered"
    added = [(f"{DEAD_LETTER}{name}", str(value).encode()) for name, value in origin.items()]
    return _outgoing(topic, _bytes(row["value"]), row, added)


def _outgoing(
    topic: str, value: bytes | None, request: Any, added: Iterable[tuple[str, bytes]] = ()
) -> dict[str, Any]:
    """Arguments of `Producer.produce`, with key and headers of the request."""
    headers = [(header["key"], _bytes(header["value"])) for header in request["headers"] or ()]
    key = _bytes(request["key"])
    return {"topic": topic, "value": value, "key": key, "headers": [*headers, *added]}


def _bytes(value: bytearray | bytes | None) -> bytes | None:
    return None if value is None else bytes(value)


def _validate(validator: Any, message: Mapping[str, Any], name: str) -> None:
    error = next(validator.iter_errors(message), None)
    if error is not None:
        field = ".".join(map(str, error.path)) or "the message"
        raise MessageError(f"{name}: {field}: {error.message[:300]}")


def _pattern(_: Any, pattern: str, text: Any, __: Any) -> Any:
    r"""The keyword `pattern` of JSON Schema: Python's own `re` knows no `\p{L}`."""
    if isinstance(text, str) and not regex.search(pattern, text):
        yield jsonschema.ValidationError(f"{text[:80]!r} does not match {pattern!r}")


_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})
