"""What answers the streamed questions: from an artefact of the store to the consumer's `Model`."""

import logging
import time
from typing import TYPE_CHECKING

from qa_assets.squad.prompts import source_column
from qa_assets.streaming.batches import Model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from qa_assets.artifacts import Artifact, ArtifactStore
    from qa_assets.settings import Settings

logger = logging.getLogger(__name__)

ASSET = "spark_nlp_model"


def load_model(settings: "Settings", session: "SparkSession", artifact: "Artifact") -> Model:
    """The model of an artefact of `ASSET`."""
    from pyspark.sql import functions as sf

    from qa_assets.deployment import spark_nlp

    pipeline = spark_nlp.load_pipeline(session, artifact.path / "pipeline")

    def answer(frame: "DataFrame") -> "DataFrame":
        source = source_column(sf.col("question"), sf.col("context"))
        said = sf.col("answer")
        return (
            spark_nlp.answer(pipeline, frame.withColumn("source", source))
            .withColumn("answer", sf.when(~said.isin("", settings.data.no_answer), said))
            .withColumn("confidence", sf.lit(None).cast("double"))
            .drop("source")
        )

    return Model(artifact.info["model_version"], answer)


class LatestModel:
    """The newest version of what serves, looked for every few seconds, taken up between batches."""

    def __init__(
        self, settings: "Settings", session: "SparkSession", store: "ArtifactStore"
    ) -> None:
        """Load the newest version there is.

        Raises:
            ArtifactMissingError: there is none.
        """
        self._settings, self._session, self._store = settings, session, store
        self._artifact = store.latest(ASSET)
        self._model = load_model(settings, session, self._artifact)
        self._looked = time.monotonic()

    def __call__(self) -> Model:
        """The model for the next batch."""
        if time.monotonic() - self._looked >= self._settings.stream.model_check_s:
            newest = self._store.find(ASSET)
            if newest is not None and newest.path != self._artifact.path:
                self._take(newest)
            self._looked = time.monotonic()
        return self._model

    def _take(self, newest: "Artifact") -> None:
        try:
            self._model = load_model(self._settings, self._session, newest)
        except Exception:  # questions are answered all the same
            logger.exception("%s cannot be loaded: the model before it goes on", newest.path)
        else:
            logger.info("model %s from now on", self._model.version)
        self._artifact = newest
