"""How Spark parses requests, and the reasons for which a message becomes a dead letter.

The rules are those of `MessageSchemas.request`. JSON is parsed strictly (RFC 8259), which Spark
does not do by itself.
"""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from qa_assets.streaming.messages import MAX_REQUEST_BYTES, VERSION, MessageSchemas

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

EMPTY = "empty message"
TOO_LARGE = f"message is larger than {MAX_REQUEST_BYTES} bytes"
NOT_UTF8 = "not UTF-8"
NOT_JSON = "not one JSON object"
LONE_SURROGATE = "half a surrogate pair, which is no character"
REPEATED_FIELD = "a field occurs twice"
WRONG_TYPE = "a field has another type than in the schema"
WRONG_VERSION = f"version is not {VERSION}"

_CORRUPT = "_corrupt"
_STRICT = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
_TEXT, _FIELDS, _ITEMS, _OTHER = "_text", "_fields", "_items", "_other"
# escapes of UTF-16 surrogates
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_OTHER_TYPES = ("double", "boolean", "array<string>", "map<string,string>")


def missing(field: str) -> str:
    """The reason for a required field that is absent, or does not match its pattern."""
    return f"{field} is missing or holds no text"


def too_long(field: str, max_length: int) -> str:
    """The reason for a field of more characters than its schema allows."""
    return f"{field} is longer than {max_length} characters"


class Reader:
    """Parses frames of Spark's Kafka source. Build it once for a query, since that takes time."""

    def __init__(self, schemas: MessageSchemas) -> None:
        """Build the expressions; needs an active session."""
        from pyspark.sql import functions as sf

        fields = list(schemas.text_fields)
        value, text = sf.col("value"), sf.col(_TEXT)
        # a message that is too large is not even decoded
        self._text = sf.when(sf.length(value) <= MAX_REQUEST_BYTES, sf.decode(value, "UTF-8"))
        options = _STRICT | {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
        # Spark ignores what follows the first object, but not in a list. The last item is the
        # message's hash, which a text that closes the list itself cannot contain.
        listed = sf.concat(sf.lit("["), text, sf.lit(',"'), sf.md5(value), sf.lit('"]'))
        # a double, since 1.0 is an integer to JSON Schema
        columns = [*(f"{name} string" for name in fields), "metadata map<string,string>"]
        columns += ["version double", f"{_CORRUPT} string"]
        self._parsed = {
            "parsed": sf.from_json(text, ", ".join(columns), options),
            _FIELDS: sf.from_json(text, "map<string,string>", _STRICT),
            _ITEMS: sf.from_json(listed, "array<string>", _STRICT),
        }
        for number, kind in enumerate(_OTHER_TYPES):  # not null where a field is of that type
            types = ", ".join(f"{name} {kind}" for name in fields)
            self._parsed[f"{_OTHER}{number}"] = sf.from_json(text, types, _STRICT)
        self._reason = _rejection_reason(schemas)

    def read(self, messages: "DataFrame") -> "DataFrame":
        """Add `parsed` (the request's fields) and `reason` to a frame with a binary `value`.

        The reason says why a message cannot be read; it is null for a request.
        """
        parsed = messages.withColumn(_TEXT, self._text).withColumns(self._parsed)
        return parsed.select(*messages.columns, "parsed", self._reason.alias("reason"))


def _rejection_reason(schemas: MessageSchemas) -> "Column":
    from pyspark.sql import functions as sf

    names = ("value", _TEXT, "parsed", _FIELDS, _ITEMS)
    value, text, parsed, fields, items = (sf.col(name) for name in names)
    whole = (sf.size(items) == 2) & (sf.element_at(items, -1) == sf.md5(value))
    one_object = sf.coalesce(whole, sf.lit(False)) & text.rlike(r"^[ \t\r\n]*\{")
    # half a surrogate pair would be read as `?`; every backslash that is left begins an escape
    escapes = sf.regexp_replace(text, r"\\\\", " ")
    metadata = parsed["metadata"]
    objects = [sf.map_keys(fields), sf.map_keys(metadata)]
    repeated = [sf.size(keys) != sf.size(sf.array_distinct(keys)) for keys in objects]
    # numbers in metadata were read as texts, so that the JSON differs when it is written again
    wrapped = sf.concat(sf.lit('{"m": '), sf.to_json(metadata), sf.lit("}"))
    rewritten = sf.from_json(wrapped, "map<string,string>", _STRICT)["m"]
    others = [sf.col(f"{_OTHER}{number}") for number in range(len(_OTHER_TYPES))]
    wrong_type = [
        parsed[_CORRUPT].isNotNull(),
        *(other[name].isNotNull() for other in others for name in schemas.text_fields),
        rewritten != fields["metadata"],
        sf.exists(sf.map_values(metadata), lambda item: item.isNull()),
    ]
    reason = (
        sf.when(value.isNull() | (sf.length(value) == 0), EMPTY)
        .when(text.isNull(), TOO_LARGE)
        .when(sf.encode(text, "UTF-8") != value, NOT_UTF8)
        .when(~one_object | parsed.isNull() | fields.isNull(), NOT_JSON)
        .when(escapes.rlike(f"{_HIGH}(?!{_LOW})|(?<!{_HIGH}){_LOW}"), LONE_SURROGATE)
        .when(reduce(or_, repeated), REPEATED_FIELD)
        .when(reduce(or_, wrong_type), WRONG_TYPE)
        .when(sf.coalesce(parsed["version"], sf.lit(VERSION)) != VERSION, WRONG_VERSION)
    )
    for name, rule in schemas.text_fields.items():
        matches = sf.coalesce(parsed[name].rlike(rule["pattern"]), sf.lit(False))
        reason = reason.when(~matches, missing(name))
    for name, rule in schemas.text_fields.items():
        most = rule["maxLength"]
        reason = reason.when(sf.length(parsed[name]) > most, too_long(name, most))
    return reason
