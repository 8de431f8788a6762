"""Spark sessions for assets, built on dagster-pyspark, ended when the step ends.

`LazyPySparkResource` itself has no teardown: its JVM would outlive the step.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import PrivateAttr

from qa_assets.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkResource(LazyPySparkResource):  # type: ignore[misc]
    """A session that is started when first used and stopped at the step's end."""

    spark_config: dict[str, Any] = {}
    config: dict[str, Any]
    root: str

    _session: Any = PrivateAttr(default=None)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The resource for the `spark` settings."""
        return cls(config=settings.spark.model_dump(), root=str(settings.root))

    @property
    def spark_session(self) -> "SparkSession":
        """The session of this step."""
        return self._started(brief=False)

    @property
    def brief_session(self) -> "SparkSession":
        """The session of a step that is done in a minute or so."""
        return self._started(brief=True)

    def _started(self, brief: bool) -> "SparkSession":
        if self._session is None:
            from qa_assets.spark import SparkConfig, create_session

            self._session = create_session(
                "qa_assets", SparkConfig(**self.config), Path(self.root), brief=brief
            )
        return self._session

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Stop the session and its JVM, if one was made."""
        if self._session is not None:
            from qa_assets.spark import stop_session

            stop_session(self._session)
            self._session = None
