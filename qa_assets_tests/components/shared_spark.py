"""The tests' Spark session as the resource of assets, so that a step starts none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qa_assets.components.spark_resource import SparkResource

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_sessions: list["SparkSession"] = []


class SharedSpark(SparkResource):
    """The session that is shared, which outlives a step."""

    @property
    def brief_session(self) -> "SparkSession":
        """The session of the tests."""
        return _sessions[0]


@contextmanager
def shared(spark: "SparkSession") -> Iterator[None]:
    """Let `SharedSpark` hand out this session."""
    _sessions.append(spark)
    try:
        yield
    finally:
        _sessions.clear()
