"""How Spark reads messages, and that it agrees with JSON and the JSON Schema."""

import json
import random
from typing import TYPE_CHECKING

from qa_assets.streaming.parsing import REASONS, Reader
from qa_assets_tests.streaming.bad_messages import ALIVE, DEAD, GOOD, mutated, readable

if TYPE_CHECKING:
    from pyspark.sql import Row, SparkSession


def read(spark: "SparkSession", values: list[bytes | None]) -> "list[Row]":
    rows = [(at, None if one is None else bytearray(one)) for at, one in enumerate(values)]
    frame = spark.createDataFrame(rows, "at int, value binary")
    return sorted(Reader().read(frame).collect(), key=lambda row: int(row["at"]))


def test_spark_reads_what_is_good_and_says_why_what_is_not_is_not(spark: "SparkSession") -> None:
    found = read(spark, [*ALIVE.values(), *(value for value, _ in DEAD.values())])
    reasons = dict(zip([*ALIVE, *DEAD], (row["reason"] for row in found), strict=True))
    assert reasons == dict.fromkeys(ALIVE) | {name: why for name, (_, why) in DEAD.items()}
    assert set(filter(None, reasons.values())) == set(REASONS)
    for row, value in zip(found, ALIVE.values(), strict=False):
        message = json.loads(value)
        assert {key: row["parsed"][key] for key in GOOD} == {key: message[key] for key in GOOD}
        assert row["parsed"]["metadata"] == message.get("metadata")


def test_spark_agrees_with_the_schema_on_mutated_messages(spark: "SparkSession") -> None:
    rng = random.Random(7)
    values = [mutated(rng, rng.choice(list(ALIVE.values())[2:])) for _ in range(2000)]
    found = read(spark, list(values))
    said = {value: row["reason"] for value, row in zip(values, found, strict=True)}
    other = {value: why for value, why in said.items() if (why is None) != readable(value)}
    assert not other
    assert sum(why is None for why in said.values()) > 50
