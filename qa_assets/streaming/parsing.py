"""How Spark reads the messages on the topic of questions, and why one is not read.

The rules are those of `schemas/question.v1.json`; JSON itself is read strictly (RFC 8259), which
Spark does not do by itself.
"""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from qa_assets.streaming.messages import MOST_BYTES, TEXTS, VERSION

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

EMPTY = "empty message"
TOO_LARGE = f"message is larger than {MOST_BYTES} bytes"
NOT_UTF8 = "not UTF-8"
NOT_JSON = "not one JSON object"
HALF_A_PAIR = "half a surrogate pair, which is no character"
TWICE = "a field occurs twice"
WRONG_TYPE = "a field has another type than in the schema"
WRONG_VERSION = f"version is not {VERSION}"
MISSING = {name: f"{name} is missing or holds no text" for name in TEXTS}
TOO_LONG = {
    name: f"{name} is longer than {rule['maxLength']} characters" for name, rule in TEXTS.items()
}
REASONS = (
    EMPTY,
    TOO_LARGE,
    NOT_UTF8,
    NOT_JSON,
    HALF_A_PAIR,
    TWICE,
    WRONG_TYPE,
    WRONG_VERSION,
    *MISSING.values(),
    *TOO_LONG.values(),
)
"""All that a dead letter's header `dead_letter.reason` may say."""

_CORRUPT = "_corrupt"
_STRICT = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
_TEXT, _FIELDS, _ITEMS, _OTHER = "_text", "_fields", "_items", "_other"
# escapes of UTF-16's surrogates: the first and the second half of a character
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_OTHER_TYPES = ("double", "boolean", "array<string>", "map<string,string>")


class Reader:
    """Reads frames of Spark's Kafka source. Made once a query: its expressions take their time."""

    def __init__(self) -> None:
        """Build the expressions; needs an active session."""
        from pyspark.sql import functions as sf

        value, text = sf.col("value"), sf.col(_TEXT)
        # what is too large is not even looked at
        self._text = sf.when(sf.length(value) <= MOST_BYTES, sf.decode(value, "UTF-8"))
        options = _STRICT | {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
        # in a list, Spark does not leave what follows the first object; before an end that no text
        # which closes the list itself can hold: its own hash
        listed = sf.concat(sf.lit("["), text, sf.lit(',"'), sf.md5(value), sf.lit('"]'))
        texts = {kind: ", ".join(f"{name} {kind}" for name in TEXTS) for kind in _OTHER_TYPES}
        self._parsed = {
            "parsed": sf.from_json(text, question_type(), options),
            _FIELDS: sf.from_json(text, "map<string,string>", _STRICT),
            _ITEMS: sf.from_json(listed, "array<string>", _STRICT),
            # what is of this type is read, all else becomes null
            **{
                f"{_OTHER}{number}": sf.from_json(text, texts[kind], _STRICT)
                for number, kind in enumerate(_OTHER_TYPES)
            },
        }
        self._reason = _why_dead()

    def read(self, messages: "DataFrame") -> "DataFrame":
        """Add `parsed`, of `question_type`, and `reason`, to frames with a binary `value`.

        The reason is one of `REASONS` for a message that cannot be answered, null for one that can.
        """
        read = messages.withColumn(_TEXT, self._text).withColumns(self._parsed)
        scaffold = [_TEXT, *(name for name in self._parsed if name != "parsed")]
        return read.withColumn("reason", self._reason).drop(*scaffold)


def question_type() -> "StructType":
    """A question as Spark reads it, which takes a number, where a text is wanted, for its text."""
    from pyspark.sql.types import DoubleType, MapType, StringType, StructType

    texts = StructType()
    for name in TEXTS:
        texts = texts.add(name, StringType())
    return (
        texts.add("metadata", MapType(StringType(), StringType()))
        .add("version", DoubleType())  # 1.0 is an integer to JSON Schema
        .add(_CORRUPT, StringType())
    )


def _why_dead() -> "Column":
    from pyspark.sql import functions as sf

    value, text, parsed, fields = (sf.col(name) for name in ("value", _TEXT, "parsed", _FIELDS))
    items = sf.col(_ITEMS)
    whole = (sf.size(items) == 2) & (sf.element_at(items, -1) == sf.md5(value))
    one_object = sf.coalesce(whole, sf.lit(False)) & text.rlike(r"^[ \t\r\n]*\{")
    reason = (
        sf.when(value.isNull() | (sf.length(value) == 0), EMPTY)
        .when(text.isNull(), TOO_LARGE)
        .when(sf.encode(text, "UTF-8") != value, NOT_UTF8)
        .when(~one_object | parsed.isNull() | fields.isNull(), NOT_JSON)
        .when(_half_a_pair(text), HALF_A_PAIR)
        .when(_repeats(fields) | _repeats(parsed["metadata"]), TWICE)
        .when(_wrong_type(fields, parsed), WRONG_TYPE)
        .when(sf.coalesce(parsed["version"], sf.lit(VERSION)) != VERSION, WRONG_VERSION)
    )
    for name, rule in TEXTS.items():
        holds = sf.coalesce(parsed[name].rlike(rule["pattern"]), sf.lit(False))
        reason = reason.when(~holds, MISSING[name])
    for name, rule in TEXTS.items():
        reason = reason.when(sf.length(parsed[name]) > rule["maxLength"], TOO_LONG[name])
    return reason


def _half_a_pair(text: "Column") -> "Column":
    """Whether an escape of JSON stands for half a character, which Spark would read as `?`."""
    from pyspark.sql import functions as sf

    escapes = sf.regexp_replace(text, r"\\\\", " ")  # now each backslash begins one
    return escapes.rlike(f"{_HIGH}(?!{_LOW})|(?<!{_HIGH}){_LOW}")


def _repeats(fields: "Column") -> "Column":
    from pyspark.sql import functions as sf

    keys = sf.map_keys(fields)
    return sf.coalesce(sf.size(keys) != sf.size(sf.array_distinct(keys)), sf.lit(False))


def _wrong_type(fields: "Column", parsed: "Column") -> "Column":
    """Whether a field that the schema names has another type than it says."""
    from pyspark.sql import functions as sf

    metadata = parsed["metadata"]
    # read and written in the same way as the message's, down to the escapes
    texts = sf.concat(sf.lit('{"m": '), sf.to_json(metadata), sf.lit("}"))
    again = sf.from_json(texts, "map<string,string>", _STRICT)["m"]
    wrong = [
        parsed[_CORRUPT].isNotNull(),
        *(
            sf.col(f"{_OTHER}{number}")[name].isNotNull()
            for number in range(len(_OTHER_TYPES))
            for name in TEXTS
        ),
        # numbers became texts in the map, and so its JSON another than the message's
        again != fields["metadata"],
        sf.exists(sf.map_values(metadata), lambda one: one.isNull()),
    ]
    return reduce(or_, (sf.coalesce(one, sf.lit(False)) for one in wrong))
