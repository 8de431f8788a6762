"""Spark sessions for assets, built on dagster-pyspark, ended when the step ends.

`LazyPySparkResource` itself has no teardown: its JVM would outlive the step.
"""

from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import PrivateAttr

from qa_assets.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkResource(LazyPySparkResource):  # type: ignore[misc]
    """A session of the profile's master, made when first used and stopped at the step's end."""

    spark_config: dict[str, Any] = {}
    settings: dict[str, Any]

    _session: Any = PrivateAttr(default=None)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The resource for the `spark` settings of the profile."""
        return cls(settings=settings.model_dump(mode="json", exclude_none=True))

    @property
    def spark_session(self) -> "SparkSession":
        """The session of this step."""
        return self._made(brief=False)

    @property
    def brief_session(self) -> "SparkSession":
        """The session of a step that is done in a minute or so."""
        return self._made(brief=True)

    def _made(self, brief: bool) -> "SparkSession":
        if self._session is None:
            from qa_assets.spark import create_session

            self._session = create_session("qa_assets", Settings(**self.settings), brief)
        return self._session

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Stop the session and its JVM, if one was made."""
        if self._session is not None:
            from qa_assets.spark import stop_session

            stop_session(self._session)
            self._session = None
