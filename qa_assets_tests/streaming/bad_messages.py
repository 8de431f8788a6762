"""Good and bad requests, whether Python and the JSON Schema take one, and random mutations.

Of question answering: `parsing` itself knows no task.
"""

import json
import random
from typing import Any

from qa_assets.streaming import parsing
from qa_assets.streaming.messages import MAX_REQUEST_BYTES, MessageError, MessageSchemas
from qa_assets.tasks.question_answering import TASK

SCHEMAS = MessageSchemas(TASK())
_LONGEST = {name: rule["maxLength"] for name, rule in SCHEMAS.text_fields.items()}
GOOD = {"id": "1", "question": "Who?", "context": "Ada."}


def changed(**fields: Any) -> bytes:
    """The good message with other fields."""
    return json.dumps(GOOD | fields).encode()


def with_tail(text: bytes) -> bytes:
    """The good message with more before its last brace."""
    return json.dumps(GOOD).encode()[:-1] + text + b"}"


ALIVE: dict[str, bytes] = {
    "plain": changed(),
    "longest": changed(context="x" * _LONGEST["context"]),
    "more": changed(metadata={"a": "b"}, version=1, unknown=[1]),
    "absent as null": changed(metadata=None, version=None),
    "version as 1.0": changed(version=1.0),
    "unicode": json.dumps(GOOD | {"question": "Où est 東京?"}, ensure_ascii=False).encode(),
    "escapes": changed(question="Où est 東京 \U0001f600?", context='[1] {"quoted"} \\ \n \0 '),
    "no surrogates": with_tail(b', "x": "\\\\ud83d \\\\\\ud83d\\uDE00"'),
    "words of JSON": changed(id="null", question="NaN", context="Infinity"),
    "looks like a number": changed(id="5", question="1e3", context="true"),
    "looks like a list": changed(id="[]", question='["a"]', context='{"a": 1}'),
    "strange metadata": changed(metadata={"": " ", "a": '1 é / \u2028 \x7f " \\ \U0001f600'}),
    "empty metadata": changed(metadata={}),
    "nested 500 deep, unread": with_tail(b', "x": ' + b"[" * 500 + b"]" * 500),
    "space around": b" \n\t" + changed() + b"\r\n ",
}
DEAD: dict[str, tuple[bytes | None, str]] = {
    "null": (None, parsing.EMPTY),
    "empty": (b"", parsing.EMPTY),
    "invalid UTF-8": (b'{"id": "\xff\xfe", "question": "q", "context": "c"}', parsing.NOT_UTF8),
    "UTF-16": (json.dumps(GOOD).encode("utf-16"), parsing.NOT_UTF8),
    "overlong UTF-8": (b'{"id": "\xc0\xaf", "question": "q", "context": "c"}', parsing.NOT_UTF8),
    "high surrogate": (changed(context="Ada \ud83d."), parsing.LONE_SURROGATE),
    "low surrogate": (changed(context="Ada \\\ude00\ud83d\ude00."), parsing.LONE_SURROGATE),
    "surrogates the wrong way round": (changed(x="\ude00\ud83d"), parsing.LONE_SURROGATE),
    "surrogate in a name": (changed(**{"\ud83d\\": ""}), parsing.LONE_SURROGATE),
    "surrogate in UTF-8": (with_tail(b', "x": "\xed\xa0\x80"'), parsing.NOT_UTF8),
    "byte order mark": (b"\xef\xbb\xbf" + changed(), parsing.NOT_JSON),
    "binary": (bytes(range(128)), parsing.NOT_JSON),
    "text": (b"hello", parsing.NOT_JSON),
    "blank": (b"  \n", parsing.NOT_JSON),
    "cut": (b'{"id": "1", "question": "Wh', parsing.NOT_JSON),
    "array": (b"[" + changed() + b"]", parsing.NOT_JSON),
    "number": (b"7", parsing.NOT_JSON),
    "string": (b'"who?"', parsing.NOT_JSON),
    "null as text": (b"null", parsing.NOT_JSON),
    "two": (changed() * 2, parsing.NOT_JSON),
    "two, with a comma": (changed() + b", " + changed(), parsing.NOT_JSON),
    "trailing text": (changed() + b" x", parsing.NOT_JSON),
    "closes a list": (changed() + b"] x", parsing.NOT_JSON),
    "one brace more": (changed() + b"}", parsing.NOT_JSON),
    "single quotes": (b"{'id': '1', 'question': 'q', 'context': 'c'}", parsing.NOT_JSON),
    "no quotes": (b'{id: "1", question: "q", context: "c"}', parsing.NOT_JSON),
    "comment": (b"/* a */" + changed(), parsing.NOT_JSON),
    "comma before the end": (with_tail(b","), parsing.NOT_JSON),
    "not a number": (with_tail(b', "x": NaN'), parsing.NOT_JSON),
    "leading zero": (with_tail(b', "x": 01'), parsing.NOT_JSON),
    "bad escape": (b'{"id": "\\x", "question": "q", "context": "c"}', parsing.NOT_JSON),
    "line break in a text": (b'{"id": "1\n", "question": "q", "context": "c"}', parsing.NOT_JSON),
    "nested 50,000 deep": (
        with_tail(b', "x": ' + b"[" * 50_000 + b"]" * 50_000), parsing.NOT_JSON,
    ),
    "metadata nested 20,000 deep": (
        with_tail(b', "metadata": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000), parsing.NOT_JSON,
    ),
    "no fields": (b"{}", parsing.missing("id")),
    "no id": (b'{"question": "q", "context": "c"}', parsing.missing("id")),
    "other case": (b'{"ID": "1", "question": "q", "context": "c"}', parsing.missing("id")),
    "null question": (changed(question=None), parsing.missing("question")),
    "empty question": (changed(question=""), parsing.missing("question")),
    "blank context": (changed(context=" \u00a0\n\u200b\x1c"), parsing.missing("context")),
    "no text in the context": (
        changed(context="\U0001f600 --- ... \u0301"), parsing.missing("context"),
    ),
    "id of control characters": (changed(id="\0\x1f\u2028"), parsing.missing("id")),
    "number field": (changed(id=5), parsing.WRONG_TYPE),
    "fraction": (changed(question=1.5), parsing.WRONG_TYPE),
    "boolean": (changed(context=True), parsing.WRONG_TYPE),
    "array field": (changed(question=["a"]), parsing.WRONG_TYPE),
    "object field": (changed(context={"a": 1}), parsing.WRONG_TYPE),
    "metadata a number": (changed(metadata=5), parsing.WRONG_TYPE),
    "metadata a list": (changed(metadata=["a"]), parsing.WRONG_TYPE),
    "number in metadata": (changed(metadata={"a": 1}), parsing.WRONG_TYPE),
    "null in metadata": (changed(metadata={"a": None}), parsing.WRONG_TYPE),
    "object in metadata": (changed(metadata={"a": {"b": "c"}}), parsing.WRONG_TYPE),
    "version a text": (changed(version="1"), parsing.WRONG_TYPE),
    "version true": (changed(version=True), parsing.WRONG_TYPE),
    "field twice": (with_tail(b', "id": "2"'), parsing.REPEATED_FIELD),
    "metadata twice": (with_tail(b', "metadata": {"a": "b", "a": "c"}'), parsing.REPEATED_FIELD),
    "unknown version": (changed(version=2), parsing.WRONG_VERSION),
    "version 1.5": (changed(version=1.5), parsing.WRONG_VERSION),
    "huge version": (changed(version=10**300), parsing.WRONG_VERSION),
    **{
        f"long {name}": (changed(**{name: "x" * (longest + 1)}), parsing.too_long(name, longest))
        for name, longest in _LONGEST.items()
    },
    "10 MB context": (changed(context="x" * 10_000_000), parsing.TOO_LARGE),
    "too large by one": (
        with_tail(b', "x": "' + b"x" * (MAX_REQUEST_BYTES - len(changed()) - 8) + b'"'),
        parsing.TOO_LARGE,
    ),
}  # fmt: skip


class _RepeatedKeyError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _RepeatedKeyError
    return dict(pairs)


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def readable(value: bytes | None) -> bool:
    """Whether a strict JSON parser and the JSON Schema take the message."""
    if value is None or len(value) > MAX_REQUEST_BYTES:
        return False
    try:
        text = value.decode()
        message = json.loads(text, parse_constant=_refuse)
        if not isinstance(message, dict):
            return False
        top = json.JSONDecoder(object_pairs_hook=list).decode(text)
        _unique(top)
        if isinstance(message.get("metadata"), dict):
            _unique(dict(top)["metadata"])
        SCHEMAS.validate_request(message)
        json.dumps(top, ensure_ascii=False).encode()  # a lone surrogate is no character
    except (ValueError, RecursionError, MessageError):
        return False
    return True


def mutated(rng: random.Random, value: bytes) -> bytes:
    """One to four random edits: of bytes, of slices, and by tokens of JSON."""
    edited = bytearray(value)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(edited) + 1)
        match rng.randrange(7):
            case 0:
                edited[at:at] = bytes([rng.randrange(256)])
            case 1:
                del edited[at : at + rng.choice([1, 1, 2, 20])]
            case 2:
                edited[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                edited[at:at] = rng.choice(_PIECES)
            case 4:
                start = rng.randrange(len(edited) + 1)
                edited[at:at] = edited[start : start + rng.randrange(40)]
            case 5:
                edited = edited[:at]
            case 6:
                edited[at : at + 1] = rng.choice(_PIECES)
    return bytes(edited)


_PIECES = [
    b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"\\u0000", b"\\ud83d", b"\\ude00", b"null",
    b"true", b"1e999", b"-", b"\xff", b"\xc2\xa0", b"\xef\xbb\xbf", b"'", b"/*", b" ", b"\n", b"\0",
    b'"id":', b'"version":2', b'"metadata":{"a":1},', b"[[[[", b"}}}}", b'"question":"",',
    b'"context":["x"],',
]  # fmt: skip
