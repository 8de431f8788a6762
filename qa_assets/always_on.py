"""The always-on consumer: `python -m qa_assets.always_on` answers until SIGTERM or SIGINT.

It finishes the batch under way before it ends. `keep_answering` is what `make stream` and the job
`stream` do with it: it is started again when Kafka was away, and when it has answered so many
questions that the memory which Spark NLP leaks should be given back.
"""

import logging
import signal
import sys
import threading
import time
from pathlib import Path

from qa_assets.core.artifacts import ArtifactMissingError, ArtifactStore
from qa_assets.local import process
from qa_assets.settings import Settings, load_settings
from qa_assets.streaming.data_loss import DataLossError
from qa_assets.streaming.kafka import KafkaUnavailable
from qa_assets.streaming.micro_batch import ConsumerError
from qa_assets.streaming.publisher import FencedError

logger = logging.getLogger("qa_assets.always_on")  # its name is __main__ where it runs

RENEW = 75
"""Exit code: enough was answered by this process, the next may start. sysexits.h: EX_TEMPFAIL."""
UNAVAILABLE = 69
"""Exit code: Kafka does not answer. sysexits.h: EX_UNAVAILABLE."""
_PAUSE_S = 5.0
_STOP_GRACE_S = 60.0


def keep_answering(stop: threading.Event, log: Path | None = None) -> int:
    """Have the consumer in a process of its own, with this one's settings, until `stop` is set.

    Args:
        stop: ends it, in order.
        log: where its output goes; none: to ours.

    Returns:
        Its exit code: 0 if it was asked to end.
    """
    while True:
        child = process.start([sys.executable, "-m", __name__], log)
        try:
            while child.poll() is None and not stop.wait(0.2):
                pass
        finally:
            process.stop(child, _STOP_GRACE_S)
        if stop.is_set() or child.returncode not in (RENEW, UNAVAILABLE):
            return child.returncode
        if child.returncode == UNAVAILABLE:
            stop.wait(_PAUSE_S)


def answer(settings: Settings) -> int:
    """Answer until a signal says to end; returns the exit code."""
    from qa_assets.served import LatestModel
    from qa_assets.spark import create_session, stop_session
    from qa_assets.streaming.consumer import answer_always

    stop = threading.Event()
    started = time.monotonic()
    store = ArtifactStore(settings.artifacts)
    session = create_session("stream", settings)
    for number in (signal.SIGTERM, signal.SIGINT):  # after Spark, which has a handler of its own
        signal.signal(number, lambda *_: stop.set())
    try:
        model = LatestModel(settings, session, store)
        logger.info("ready to answer after %.1f s", time.monotonic() - started)
        out = store.root / "answers"
        summary = answer_always(session, settings.kafka, settings.stream, model, out, stop)
    except KafkaUnavailable as error:
        logger.error("%s", error)
        return UNAVAILABLE
    except (ArtifactMissingError, ConsumerError, DataLossError, FencedError) as error:
        logger.error("%s", error)
        return 1
    finally:
        stop_session(session)
    logger.info("%d messages answered, %d wait", summary.messages, summary.lag)
    return 0 if stop.is_set() else RENEW


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("qa_assets").setLevel(logging.INFO)
    sys.exit(answer(load_settings()))
