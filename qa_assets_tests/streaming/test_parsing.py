"""How requests are read, and that it agrees with JSON and the JSON Schema."""

import json
import random

from qa_assets.streaming import parsing
from qa_assets.streaming.parsing import UnreadableRequestError, read_request
from qa_assets_tests.streaming.bad_messages import (
    ALIVE,
    DEAD,
    GOOD,
    SCHEMAS,
    mutated,
    readable,
)

REASONS = {
    parsing.EMPTY, parsing.TOO_LARGE, parsing.NOT_UTF8, parsing.NOT_JSON, parsing.LONE_SURROGATE,
    parsing.REPEATED_FIELD, parsing.WRONG_TYPE, parsing.WRONG_VERSION,
    *map(parsing.missing, SCHEMAS.text_fields),
    *(parsing.too_long(name, rule["maxLength"]) for name, rule in SCHEMAS.text_fields.items()),
}  # fmt: skip


def reason(value: bytes | None) -> str | None:
    try:
        read_request(SCHEMAS, value)
    except UnreadableRequestError as error:
        return str(error)
    return None


def test_every_message_is_read_or_gets_its_reason() -> None:
    assert {name: reason(value) for name, value in ALIVE.items()} == dict.fromkeys(ALIVE)
    dead = {name: expected for name, (_, expected) in DEAD.items()}
    assert {name: reason(value) for name, (value, _) in DEAD.items()} == dead
    assert set(dead.values()) == REASONS


def test_a_request_is_what_its_message_holds() -> None:
    for value in ALIVE.values():
        request, message = read_request(SCHEMAS, value), json.loads(value)
        assert {"id": request.id, **request.inputs} == {key: message[key] for key in GOOD}
        assert request.metadata == message.get("metadata")


def test_reading_agrees_with_the_schema_on_mutated_messages() -> None:
    rng = random.Random(7)
    values = [mutated(rng, rng.choice(list(ALIVE.values())[2:])) for _ in range(20_000)]
    reasons = {value: reason(value) for value in values}
    assert not [value for value, why in reasons.items() if (why is None) != readable(value)]
    assert sum(why is None for why in reasons.values()) > 500
