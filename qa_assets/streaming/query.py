"""Spark's query over the questions: how it is started and ended, and what its errors mean."""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.streaming.kafka import KafkaUnavailable
from qa_assets.streaming.micro_batch import Batches, ConsumerError, Enough
from qa_assets.streaming.security import hidden, spark_options

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from qa_assets.streaming.config import KafkaSettings, StreamSettings

_CLIENT = {
    "kafka.request.timeout.ms": "15000",
    "kafka.default.api.timeout.ms": "20000",
    # a fetch that was sent ahead for what is not there yet holds the next one up for so long
    "kafka.fetch.max.wait.ms": "20",
}
_COMMIT_S = 10.0


@dataclass(frozen=True)
class Ending:
    """How a query is triggered and waited for."""

    trigger: dict[str, Any]
    wait: Callable[[Any, Batches], None]


to_the_end = Ending({"availableNow": True}, lambda query, *_: query.awaitTermination())
"""All that is on the topic when it starts."""


def until(stop: threading.Event, trigger_ms: int) -> Ending:
    """A batch each `trigger_ms` at most, until `stop` is set; the one under way is finished."""

    def wait(query: Any, work: Batches) -> None:
        while not stop.wait(0.2):
            if not query.isActive:
                query.awaitTermination()  # raises what ended it
                return
        work.close()
        # Spark would interrupt what it does: let it note that the last batch is done
        deadline = time.monotonic() + _COMMIT_S
        while query.status["isTriggerActive"] and time.monotonic() < deadline:
            time.sleep(0.01)

    return Ending({"processingTime": f"{trigger_ms} milliseconds"}, wait)


def run(
    spark: "SparkSession",
    kafka: "KafkaSettings",
    stream: "StreamSettings",
    checkpoint: Path,
    work: Batches,
    ending: Ending,
) -> None:
    """Hand the questions on the topic to `work`, from the checkpoint on.

    Args:
        spark: a session with the Kafka connector.
        kafka: the broker and its topics.
        stream: how large a batch may be, and what is done where messages are lost.
        checkpoint: Spark's own; made if it is not there.
        work: is called with each batch.
        ending: says when it is enough.

    Raises:
        KafkaUnavailable: the broker went away.
        ConsumerError: Spark failed.
        Exception: what `work` raised, but for `Enough`, which ends the query in order.
    """
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import StreamingQueryException

    query = None
    try:
        query = (
            spark.readStream.format("kafka")
            .options(**_CLIENT, **spark_options(kafka))
            .option("subscribe", kafka.questions_topic)
            .option("startingOffsets", "earliest")
            .option("kafka.isolation.level", "read_committed")
            .option("includeHeaders", "true")
            .option("failOnDataLoss", str(stream.on_data_loss == "fail").lower())
            .option("maxOffsetsPerTrigger", stream.max_offsets_per_trigger)
            .option("kafkaConsumer.pollTimeoutMs", "30000")
            .load()
            .writeStream.foreachBatch(work)
            .option("checkpointLocation", _uri(checkpoint))
            .trigger(**ending.trigger)
            .start()
        )
        ending.wait(query, work)
    except StreamingQueryException as error:
        if isinstance(work.error, Enough):
            return
        if work.error is not None and not isinstance(work.error, Py4JError):
            raise work.error from None  # our own, not Spark's wrapping of it
        raise _explain(error, kafka) from None  # with which Spark's text would be shown
    except (Py4JError, OSError) as error:
        raise ConsumerError(
            "Spark's JVM has ended while questions were answered (was it killed, or out of "
            "memory?): the next run goes on where this one stopped"
        ) from error
    finally:
        if query is not None:
            with suppress(Py4JError, OSError):  # its JVM may be gone
                query.stop()


def _uri(path: Path) -> str:
    """A path as Hadoop reads it: `Path.as_uri` would encode the `=` of a partition."""
    return f"file://{path.absolute()}"


def _explain(error: Exception, kafka: "KafkaSettings") -> Exception:
    text = hidden(kafka, str(error))
    if "data may have been lost" in text or "failOnDataLoss" in text:
        return ConsumerError(
            f"questions on {kafka.questions_topic!r} went away while they were answered; the next "
            "run says which"
        )
    if "org.apache.kafka" in text:
        cause = next((line for line in text.splitlines() if "org.apache.kafka" in line), text)
        return KafkaUnavailable(
            f"Kafka on {kafka.bootstrap_servers} failed while questions were answered (what was "
            f"not committed is answered next time): {cause.strip()[:300]}"
        )
    causes = re.findall(r"Caused by: (.*)", text)
    return ConsumerError(f"the stream failed: {(causes[-1] if causes else text)[:1000]}")
