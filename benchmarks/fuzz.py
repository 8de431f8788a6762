"""Mutated messages between good ones, on the real broker and engine: is an answer changed by them?

    python benchmarks/fuzz.py [--mutated 5000] [--good 1000] [--seed 1]

The good ones are answered between the mutated ones, and alone on another topic. Exit code 1 on any
difference, on a message that is neither answered nor a dead letter, and where the consumer and the
JSON Schema disagree on a message.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.local.broker import broker, free_port
from qa_assets.settings import load_settings
from qa_assets.spark import SparkConfig, create_session, stop_session
from qa_assets.streaming.config import KafkaConfig, StreamContext
from qa_assets.streaming.consumer import process_available
from qa_assets.streaming.kafka import ensure_topics
from qa_assets.streaming.micro_batch import Model
from qa_assets.streaming.summary import StreamSummary
from qa_assets_tests.chaos.questions import question
from qa_assets_tests.streaming.bad_messages import ALIVE, mutated, readable
from qa_assets_tests.streaming.stream import Stream, stream_context

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def answered(
    session: "SparkSession", context: StreamContext, model: Model, values: list[bytes], out: Path
) -> tuple[StreamSummary, Stream]:
    """Send the messages and answer them."""
    ensure_topics(context.kafka, [context.topics.requests])
    stream = Stream(session, context, out)
    stream.send_raw(list(values))
    return process_available(session, context, model, out), stream


def violations(
    session: "SparkSession",
    model: Model,
    options: argparse.Namespace,
    kafka: KafkaConfig,
    out: Path,
) -> Counter[str]:
    """What went wrong, by kind; prints counts of dead letters by reason."""
    rng = random.Random(options.seed)
    good = [json.dumps(question(number)).encode() for number in range(options.good)]
    originals = [*list(ALIVE.values())[2:], *good[:20]]
    values = [mutated(rng, rng.choice(originals)) for _ in range(options.mutated)]
    offsets = sorted(rng.sample(range(len(good) + len(values)), len(good)))
    for offset, value in zip(offsets, good, strict=True):
        values.insert(offset, value)

    mixed, alone = (
        stream_context(kafka, name, max_messages_per_run=len(values), max_offsets_per_trigger=500)
        for name in ("mixed", "alone")
    )
    started = time.monotonic()
    summary, stream = answered(session, mixed, model, values, out / "mixed")
    print(f"{len(values)} messages in {time.monotonic() - started:.0f} s")
    responses = {response["offset"]: response for response in stream.responses()}
    letters = stream.dead_letters()
    _, stream = answered(session, alone, model, good, out / "alone")
    expected = {response["id"]: response["answer"] for response in stream.responses()}
    wrong: Counter[str] = Counter()
    for offset, value in enumerate(values):
        responded, dead = offset in responses, offset in letters
        wrong["neither answered nor a dead letter, or both"] += responded == dead
        wrong["other bytes in the dead letter"] += dead and letters[offset].value() != value
        wrong["the consumer and the schema disagree"] += responded != readable(value)
    for number, offset in enumerate(offsets):
        response = responses.get(offset, {"id": None, "answer": None})
        wrong["good answers changed"] += response["answer"] != expected[f"q{number}"]
        wrong["good answers changed"] += response["id"] != f"q{number}"
    for reason, count in summary.dead_letters.most_common():
        print(f"{count:6} {reason}")
    still = len(responses) - len(good)
    print(f"{still:6} mutated messages could still be read; {len(set(expected.values()))} answers")
    return +wrong


def main() -> int:
    """Run on a broker and a session of its own."""
    sys.path.insert(0, str(Path(__file__).parent))
    from backlog import model

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutated", type=int, default=5_000)
    parser.add_argument("--good", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    jars = load_settings().jars
    with tempfile.TemporaryDirectory(prefix="qa-assets-fuzz-") as directory:
        home = Path(directory)
        (home / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        kafka = KafkaConfig(bootstrap_servers=address, partitions=1)
        with broker(home / "kafka", address, jars):
            session = create_session("fuzz", SparkConfig(), home)
            try:
                served = model("spark-nlp", home, session)
                wrong = violations(session, served, options, kafka, home)
            finally:
                stop_session(session)
    print("\n".join(f"{count} {kind}" for kind, count in wrong.items()) or "nothing went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
