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

from qa_assets.deployment import serving
from qa_assets.settings import load_settings
from qa_assets.spark import create_session, stop_session
from qa_assets.streaming.config import KafkaSettings, StreamSettings
from qa_assets.streaming.consumer import answer_available
from qa_assets.streaming.micro_batch import Model
from qa_assets_tests.tiny_models import import_model


def main() -> int:
    """Answer what is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path, help="has `jars`, `onnx`; gets `served`")
    parser.add_argument("out", type=Path)
    parser.add_argument("kafka", type=json.loads)
    parser.add_argument("stream", type=json.loads)
    asked = parser.parse_args()
    faulthandler.register(signal.SIGUSR1)  # where it is, should it not end
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("qa_assets").setLevel(logging.INFO)
    spark = create_session("chaos", load_settings(home=asked.home))
    try:
        served = asked.home / "served"
        if not served.exists():
            import_model(spark, asked.home / "onnx", served)
        model = Model("chaos", serving.answerer(spark, served))
        kafka, stream = KafkaSettings(**asked.kafka), StreamSettings(**asked.stream)
        answer_available(spark, kafka, stream, model, asked.out)
    except RuntimeError as error:
        logging.getLogger("chaos").error("%s: %s", type(error).__name__, error)
        return 1
    finally:
        stop_session(spark)
    return 0


if __name__ == "__main__":
    sys.exit(main())
