"""The consumer step as a process of its own, to be killed: `python -m qa_assets_tests.chaos.step`.

Ends with 0 when the questions that were there are answered, with 1 and a message if it cannot.
"""

import argparse
import faulthandler
import json
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.deployment import spark_nlp
from qa_assets.settings import load_settings
from qa_assets.spark import create_session, stop_session
from qa_assets.squad.prompts import source_column
from qa_assets.streaming.batches import Model
from qa_assets.streaming.config import KafkaSettings, StreamSettings
from qa_assets.streaming.consumer import answer_available

if TYPE_CHECKING:
    from pyspark.ml import PipelineModel
    from pyspark.sql import DataFrame


def served(pipeline: "PipelineModel") -> Model:
    """The pipeline as the consumer takes it."""
    from pyspark.sql import functions as sf

    def answer(frame: "DataFrame") -> "DataFrame":
        source = source_column(sf.col("question"), sf.col("context"))
        said = sf.col("answer")
        return (
            spark_nlp.answer(pipeline, frame.withColumn("source", source))
            .withColumn("answer", sf.when(~said.isin("", "unavailable"), said))
            .withColumn("confidence", sf.lit(None).cast("double"))
            .drop("source")
        )

    return Model("chaos", answer)


def main() -> int:
    """Answer what is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path, help="has `jars`, `onnx`; gets `pipeline`")
    parser.add_argument("out", type=Path)
    parser.add_argument("kafka", type=json.loads)
    parser.add_argument("stream", type=json.loads)
    asked = parser.parse_args()
    faulthandler.register(signal.SIGUSR1)  # where it is, should it not end
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("qa_assets").setLevel(logging.INFO)
    spark = create_session("chaos", load_settings(home=asked.home))
    try:
        if not (asked.home / "pipeline").exists():
            spark_nlp.import_onnx(
                spark, asked.home / "onnx", asked.home / "pipeline", max_new_tokens=8
            )
        pipeline = spark_nlp.load_pipeline(spark, asked.home / "pipeline")
        kafka, stream = KafkaSettings(**asked.kafka), StreamSettings(**asked.stream)
        answer_available(spark, kafka, stream, served(pipeline), asked.out)
    except RuntimeError as error:
        logging.getLogger("chaos").error("%s: %s", type(error).__name__, error)
        return 1
    finally:
        stop_session(spark)
    return 0


if __name__ == "__main__":
    sys.exit(main())
