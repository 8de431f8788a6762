"""A backlog of questions worked off in bounded runs: the lag after each, and the throughput.

    python benchmarks/backlog.py [--questions 100000] [--per-run 20000] [--batch 2000]
                                 [--engine spark-nlp|none]

A tiny T5 with random weights on Spark NLP; `none` answers with an expression of Spark's, which
leaves what surrounds the engine. All runs in one session, which is not in the times.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.deployment import serving
from qa_assets.local.broker import broker
from qa_assets.settings import Settings, load_settings
from qa_assets.streaming.config import StreamSettings
from qa_assets.streaming.consumer import answer_available
from qa_assets.streaming.micro_batch import Model
from qa_assets.streaming.producer import produce_questions
from qa_assets_tests.chaos.questions import make_model, question
from qa_assets_tests.conftest import free_port
from qa_assets_tests.tiny_models import import_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def none(frame: "DataFrame") -> "DataFrame":
    """The context in capitals."""
    from pyspark.sql import functions as sf

    return frame.withColumn("answer", sf.upper("context")).withColumn("confidence", sf.lit(1.0))


def model(engine: str, home: Path, session: "SparkSession") -> Model:
    """What answers."""
    if engine == "none":
        return Model("none", none)
    served = home / "served"
    import_model(session, make_model(home / "model"), served)
    return Model("tiny", serving.answerer(session, served))


def work_off(settings: Settings, asked: argparse.Namespace, place: Path) -> None:
    """Send the questions, and answer until none is left; a line a run."""
    from qa_assets.spark import create_session, stop_session

    started = time.monotonic()
    produce_questions(settings.kafka, (question(number) for number in range(asked.questions)))
    print(f"{asked.questions} questions sent in {time.monotonic() - started:.1f} s")
    session = create_session("backlog", settings)
    try:
        serving = model(asked.engine, place, session)
        stream = StreamSettings(
            max_offsets_per_trigger=asked.batch, max_questions_per_run=asked.per_run
        )
        print("| run | messages | batches | s | messages/s | lag |\n|---|---|---|---|---|---|")
        lag, run, total = 1, 0, 0.0
        while lag:
            run += 1
            done = answer_available(session, settings.kafka, stream, serving, place / "answers")
            lag, total = done.lag, total + done.duration_s
            print(
                f"| {run} | {done.messages} | {done.batches} | {done.duration_s:.1f} "
                f"| {done.messages_per_s:.0f} | {lag} |",
                flush=True,
            )
        print(f"{asked.questions / total:.0f} messages/s over all")
    finally:
        stop_session(session)


def main() -> None:
    """Have a broker for the length of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--per-run", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=2_000)
    parser.add_argument("--engine", choices=["spark-nlp", "none"], default="spark-nlp")
    asked = parser.parse_args()
    jars = load_settings().jars
    with tempfile.TemporaryDirectory(prefix="qa-assets-backlog-") as place:
        (Path(place) / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        settings = load_settings(home=place, kafka={"bootstrap_servers": address})
        with broker(Path(place) / "kafka", address, jars):
            work_off(settings, asked, Path(place))


if __name__ == "__main__":
    main()
