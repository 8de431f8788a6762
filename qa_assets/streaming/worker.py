"""The worker: a process that answers requests as they come, until SIGTERM or SIGINT.

`run_worker` is the work of that process. `keep_running` starts it, and starts it again after Kafka
was away or after a number of requests, to free the memory that Spark NLP leaks.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.core.artifacts import Artifact, ArtifactMissingError, ArtifactStore
from qa_assets.deployment import serving
from qa_assets.local import process
from qa_assets.spark import stop_session
from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.consumer import process_until
from qa_assets.streaming.data_loss import DataLossError
from qa_assets.streaming.kafka import KafkaUnavailable
from qa_assets.streaming.micro_batch import ConsumerError, Model
from qa_assets.streaming.publisher import FencedError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

RENEW = 75
"""Exit code: the next process may start. sysexits.h: EX_TEMPFAIL."""
UNAVAILABLE = 69
"""Exit code: Kafka does not answer. sysexits.h: EX_UNAVAILABLE."""
_PAUSE_S = 5.0
_STOP_GRACE_S = 60.0


def worker_command(pipeline: str) -> list[str]:
    """The command of a pipeline's worker, which calls `run_worker`."""
    return [sys.executable, "-m", "qa_assets.cli.worker", pipeline]


def keep_running(command: Sequence[str], stop: threading.Event, log: Path | None = None) -> int:
    """Run the worker's command, again where its exit code says so, until `stop` is set.

    Its output goes to `log`, if there is one. Returns its exit code: 0 if it was stopped.
    """
    while True:
        child = process.start(command, log)
        try:
            while child.poll() is None and not stop.wait(0.2):
                pass
        finally:
            process.stop(child, _STOP_GRACE_S)
        if stop.is_set() or child.returncode not in (RENEW, UNAVAILABLE):
            return child.returncode
        if child.returncode == UNAVAILABLE:
            stop.wait(_PAUSE_S)


def run_worker(
    create_session: "Callable[[], SparkSession]",
    store: ArtifactStore,
    asset: str,
    context: StreamContext,
    out: Path,
) -> int:
    """Answer requests until a signal ends this process; replaces its signal handlers.

    The current micro-batch is finished before the end, and the Spark session stopped. A new version
    of the asset that serves is used from the next micro-batch on. Returns the exit code: 0 after a
    signal, `RENEW`, `UNAVAILABLE`, or 1 after a failure.
    """
    stop, started = threading.Event(), time.monotonic()
    session = create_session()
    for number in (signal.SIGTERM, signal.SIGINT):  # after Spark, which installs a handler itself
        signal.signal(number, lambda *_: stop.set())
    try:
        model = LatestModel(session, store, asset, context.config.model_check_s)
        logger.info("ready to answer after %.1f s", time.monotonic() - started)
        summary = process_until(session, context, model, out, stop)
    except KafkaUnavailable as error:
        logger.error("%s", error)
        return UNAVAILABLE
    except (ArtifactMissingError, ConsumerError, DataLossError, FencedError) as error:
        logger.error("%s", error)
        return 1
    finally:
        stop_session(session)
    logger.info("%d messages answered, %d wait", summary.messages, summary.lag)
    if summary.open_transaction:
        logger.warning("%s: %s", context.topics.requests, summary.open_transaction)
    return 0 if stop.is_set() else RENEW


def load_model(session: "SparkSession", artifact: Artifact) -> Model:
    """The model of an artefact that serves; errors are those of `serving.predictor`."""
    predictor = serving.predictor(session, artifact.path / artifact.info["serves"])
    return Model(artifact.info["model_version"], predictor)


class LatestModel:
    """The newest version of the model that serves, looked for every `check_s` seconds."""

    def __init__(
        self, session: "SparkSession", store: ArtifactStore, asset: str, check_s: float
    ) -> None:
        """Load the newest version, or raise an ArtifactMissingError."""
        self._session, self._store, self._asset, self._check_s = session, store, asset, check_s
        self._artifact = store.latest(asset)
        self._model = load_model(session, self._artifact)
        self._checked = time.monotonic()

    def __call__(self) -> Model:
        """The model for the next micro-batch."""
        if time.monotonic() - self._checked < self._check_s:
            return self._model
        newest = self._store.find(self._asset)
        if newest is not None and newest.path != self._artifact.path:
            self._artifact = newest
            try:
                self._model = load_model(self._session, newest)
                logger.info("model %s from now on", self._model.version)
            except Exception:  # requests are answered all the same
                logger.exception("%s cannot be loaded: the model before it stays", newest.path)
        self._checked = time.monotonic()
        return self._model
