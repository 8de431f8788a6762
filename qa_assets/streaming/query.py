"""Spark's streaming query over the requests: how it starts and ends, and what its errors mean."""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_assets.streaming.directory import StreamDirectory
from qa_assets.streaming.kafka import KafkaUnavailable
from qa_assets.streaming.micro_batch import ConsumerError, MicroBatchProcessor, RunLimitReached
from qa_assets.streaming.security import redacted, spark_options

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from qa_assets.streaming.config import StreamContext

_CLIENT = {
    "kafka.request.timeout.ms": "15000",
    "kafka.default.api.timeout.ms": "20000",
    # a prefetch of messages that are not there yet delays the next fetch by so long
    "kafka.fetch.max.wait.ms": "20",
}
_COMMIT_S = 10.0


@dataclass(frozen=True)
class Ending:
    """How a query is triggered, and waited for."""

    trigger: dict[str, Any]
    wait: Callable[[Any, MicroBatchProcessor], None]


available_now = Ending({"availableNow": True}, lambda query, *_: query.awaitTermination())
"""All that is on the topic when the query starts."""


def until(stop: threading.Event, trigger_ms: int) -> Ending:
    """A micro-batch each `trigger_ms` at most, until `stop` is set; the last one is finished."""

    def wait(query: Any, processor: MicroBatchProcessor) -> None:
        while not stop.wait(0.2):
            if not query.isActive:
                query.awaitTermination()  # raises what ended it
                return
        processor.close()
        # let Spark commit the last micro-batch: stopping the query would interrupt that
        deadline = time.monotonic() + _COMMIT_S
        while query.status["isTriggerActive"] and time.monotonic() < deadline:
            time.sleep(0.01)

    return Ending({"processingTime": f"{trigger_ms} milliseconds"}, wait)


def run(
    spark: "SparkSession",
    directory: StreamDirectory,
    processor: MicroBatchProcessor,
    ending: Ending,
) -> None:
    """Hand the requests on the topic to the processor, from the checkpoint on.

    Args:
        spark: a session with the Kafka connector.
        directory: the stream and its files; the checkpoint is made if it is not there.
        processor: called with each micro-batch.
        ending: says when the query ends.

    Raises:
        KafkaUnavailable: the broker went away.
        ConsumerError: Spark failed.
        Exception: of the processor, but for `RunLimitReached`, which ends the query in order.
    """
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import StreamingQueryException

    context, query = directory.context, None
    try:
        query = (
            spark.readStream.format("kafka")
            .options(**_CLIENT, **spark_options(context.kafka))
            .option("subscribe", context.topics.requests)
            .option("startingOffsets", "earliest")
            .option("kafka.isolation.level", "read_committed")
            .option("includeHeaders", "true")
            .option("failOnDataLoss", str(not context.tolerates_loss).lower())
            .option("maxOffsetsPerTrigger", context.config.max_offsets_per_trigger)
            .option("kafkaConsumer.pollTimeoutMs", "30000")
            .load()
            .writeStream.foreachBatch(processor)
            .option("checkpointLocation", _uri(directory.checkpoint.path))
            .trigger(**ending.trigger)
            .start()
        )
        ending.wait(query, processor)
    except StreamingQueryException as error:
        if isinstance(processor.error, RunLimitReached):
            return
        if processor.error is not None and not isinstance(processor.error, Py4JError):
            raise processor.error from None  # our own, not Spark's wrapping of it
        raise _explain(error, context) from None  # else Spark's text would be shown, see `redacted`
    except (Py4JError, OSError) as error:
        raise ConsumerError(
            "Spark's JVM has ended while requests were answered (was it killed, or out of "
            "memory?): the next run goes on where this one stopped"
        ) from error
    finally:
        if query is not None:
            with suppress(Py4JError, OSError):  # its JVM may be gone
                query.stop()


def _uri(path: "Path") -> str:
    """A path as Hadoop reads it: `Path.as_uri` would encode the `=` of a partition."""
    return f"file://{path.absolute()}"


def _explain(error: Exception, context: "StreamContext") -> Exception:
    text = redacted(context.kafka, str(error))
    if "data may have been lost" in text or "failOnDataLoss" in text:
        return ConsumerError(
            f"messages on {context.topics.requests!r} went away while they were answered; the next "
            "run says which"
        )
    if "org.apache.kafka" in text:
        cause = next((line for line in text.splitlines() if "org.apache.kafka" in line), text)
        return KafkaUnavailable(
            f"Kafka on {context.kafka.bootstrap_servers} failed while requests were answered (what "
            f"was not committed is answered next time): {cause.strip()[:300]}"
        )
    causes = re.findall(r"Caused by: (.*)", text)
    return ConsumerError(f"the stream failed: {(causes[-1] if causes else text)[:1000]}")
