"""How Spark parses requests, and that it agrees with JSON and the JSON Schema."""

import json
import random
from typing import TYPE_CHECKING

from qa_assets.streaming import parsing
from qa_assets.streaming.parsing import Reader
from qa_assets_tests.streaming.bad_messages import (
    ALIVE,
    DEAD,
    GOOD,
    SCHEMAS,
    mutated,
    readable,
)

if TYPE_CHECKING:
    from pyspark.sql import Row, SparkSession

REASONS = {
    parsing.EMPTY, parsing.TOO_LARGE, parsing.NOT_UTF8, parsing.NOT_JSON, parsing.LONE_SURROGATE,
    parsing.REPEATED_FIELD, parsing.WRONG_TYPE, parsing.WRONG_VERSION,
    *map(parsing.missing, SCHEMAS.text_fields),
    *(parsing.too_long(name, rule["maxLength"]) for name, rule in SCHEMAS.text_fields.items()),
}  # fmt: skip


def read(spark: "SparkSession", values: list[bytes | None]) -> "list[Row]":
    rows = [(at, None if value is None else bytearray(value)) for at, value in enumerate(values)]
    frame = spark.createDataFrame(rows, "at int, value binary")
    return sorted(Reader(SCHEMAS).read(frame).collect(), key=lambda row: int(row["at"]))


def test_every_message_is_parsed_or_gets_its_reason(spark: "SparkSession") -> None:
    rows = read(spark, [*ALIVE.values(), *(value for value, _ in DEAD.values())])
    by_name = dict(zip([*ALIVE, *DEAD], (row["reason"] for row in rows), strict=True))
    assert by_name == dict.fromkeys(ALIVE) | {name: reason for name, (_, reason) in DEAD.items()}
    assert set(filter(None, by_name.values())) == REASONS
    for row, value in zip(rows, ALIVE.values(), strict=False):
        message = json.loads(value)
        assert {key: row["parsed"][key] for key in GOOD} == {key: message[key] for key in GOOD}
        assert row["parsed"]["metadata"] == message.get("metadata")


def test_spark_agrees_with_the_schema_on_mutated_messages(spark: "SparkSession") -> None:
    rng = random.Random(7)
    values = [mutated(rng, rng.choice(list(ALIVE.values())[2:])) for _ in range(2000)]
    rows = read(spark, list(values))
    by_value = {value: row["reason"] for value, row in zip(values, rows, strict=True)}
    assert not [value for value, why in by_value.items() if (why is None) != readable(value)]
    assert sum(why is None for why in by_value.values()) > 50
