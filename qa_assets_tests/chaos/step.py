"""A consumer as a process of its own, to be killed: `python -m qa_assets_tests.chaos.step`.

Ends with 0 when the requests that were there are answered, with 1 and a message if it cannot.
"""

import argparse
import faulthandler
import json
import logging
import signal
import sys
from pathlib import Path

from qa_assets.deployment import serving
from qa_assets.spark import SparkConfig, create_session, stop_session
from qa_assets.streaming.config import KafkaConfig, StreamConfig, StreamContext, Topics
from qa_assets.streaming.consumer import process_available
from qa_assets.streaming.micro_batch import Model
from qa_assets.tasks.question_answering import TASK
from qa_assets_tests.tiny_models import import_model


def arguments(context: StreamContext) -> list[str]:
    """A stream as the last three arguments of the command."""
    models = (context.kafka, context.topics, context.config)
    return [json.dumps(model.model_dump(mode="json")) for model in models]


def main() -> int:
    """Answer what is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path, help="has `jars`, `onnx`; gets `served`")
    parser.add_argument("out", type=Path)
    parser.add_argument("kafka", type=KafkaConfig.model_validate_json)
    parser.add_argument("topics", type=Topics.model_validate_json)
    parser.add_argument("config", type=StreamConfig.model_validate_json)
    options = parser.parse_args()
    faulthandler.register(signal.SIGUSR1)  # shows where it is, should it not end
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("qa_assets").setLevel(logging.INFO)
    spark = create_session("chaos", SparkConfig(), options.home)
    try:
        served = options.home / "served"
        if not served.exists():
            import_model(spark, options.home / "onnx", served)
        model = Model("chaos", serving.predictor(spark, served))
        context = StreamContext(options.kafka, options.topics, options.config, TASK())
        process_available(spark, context, model, options.out)
    except RuntimeError as error:
        logging.getLogger("chaos").error("%s: %s", type(error).__name__, error)
        return 1
    finally:
        stop_session(spark)
    return 0


if __name__ == "__main__":
    sys.exit(main())
