"""What answers the streamed questions: from an artefact of the store to the consumer's `Model`."""

import logging
import time
from typing import TYPE_CHECKING

from qa_assets.deployment import serving
from qa_assets.streaming.micro_batch import Model

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from qa_assets.core.artifacts import Artifact, ArtifactStore
    from qa_assets.settings import Settings

logger = logging.getLogger(__name__)


def load_model(session: "SparkSession", artifact: "Artifact") -> Model:
    """The model of an artefact of `settings.serving.model`.

    Raises:
        ProvenanceError: its files are not those that were made.
        SparkNlpError: Spark NLP cannot load it.
    """
    answer = serving.answerer(session, artifact.path / artifact.info["serves"])
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
        self._artifact = store.latest(settings.serving.model)
        self._model = load_model(session, self._artifact)
        self._looked = time.monotonic()

    def __call__(self) -> Model:
        """The model for the next batch."""
        if time.monotonic() - self._looked >= self._settings.stream.model_check_s:
            newest = self._store.find(self._settings.serving.model)
            if newest is not None and newest.path != self._artifact.path:
                self._take(newest)
            self._looked = time.monotonic()
        return self._model

    def _take(self, newest: "Artifact") -> None:
        try:
            self._model = load_model(self._session, newest)
        except Exception:  # questions are answered all the same
            logger.exception("%s cannot be loaded: the model before it goes on", newest.path)
        else:
            logger.info("model %s from now on", self._model.version)
        self._artifact = newest
