"""Mutated messages between good ones, on the real broker and engine: is a good answer changed?

    python benchmarks/fuzz.py [--mutated 5000] [--good 1000] [--seed 1]

The good ones are answered between the mutated ones, and alone on another topic. Exit code 1 on any
difference, on a message that is neither answered nor a dead letter, and where Spark takes what the
JSON Schema refuses or the other way round.
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

from qa_assets.local.broker import broker
from qa_assets.settings import load_settings
from qa_assets.spark import create_session, stop_session
from qa_assets.streaming.config import KafkaSettings, StreamSettings
from qa_assets.streaming.consumer import StreamSummary, answer_available
from qa_assets.streaming.kafka import ensure_topics
from qa_assets.streaming.micro_batch import Model
from qa_assets_tests.chaos.questions import question
from qa_assets_tests.conftest import free_port
from qa_assets_tests.streaming.bad_messages import ALIVE, mutated, readable
from qa_assets_tests.streaming.stream import Stream

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def answered(
    session: "SparkSession", kafka: KafkaSettings, serving: Model, values: list[bytes], out: Path
) -> tuple[StreamSummary, Stream]:
    """Send the messages and answer them."""
    ensure_topics(kafka, [kafka.questions_topic])
    stream = Stream(session, kafka, out)
    stream.send_raw(list(values))
    settings = StreamSettings(max_questions_per_run=len(values), max_offsets_per_trigger=500)
    return answer_available(session, kafka, settings, serving, out), stream


def differences(
    session: "SparkSession",
    serving: Model,
    asked: argparse.Namespace,
    base: KafkaSettings,
    out: Path,
) -> Counter[str]:
    """What went wrong, by kind; prints what was seen."""
    rng = random.Random(asked.seed)
    good = [json.dumps(question(number)).encode() for number in range(asked.good)]
    originals = [*list(ALIVE.values())[2:], *good[:20]]
    values = [mutated(rng, rng.choice(originals)) for _ in range(asked.mutated)]
    places = sorted(rng.sample(range(len(good) + len(values)), len(good)))
    for place, value in zip(places, good, strict=True):
        values.insert(place, value)

    def named(name: str) -> KafkaSettings:
        topics = {key: f"{name}.{key}" for key in ("questions_topic", "answers_topic")}
        return base.model_copy(
            update=topics | {"dead_letter_topic": f"{name}.dead", "consumer_group": name}
        )

    started = time.monotonic()
    summary, mixed = answered(session, named("mixed"), serving, values, out / "mixed")
    print(f"{len(values)} messages in {time.monotonic() - started:.0f} s")
    _, alone = answered(session, named("alone"), serving, good, out / "alone")
    told = {one["offset"]: one for one in mixed.answers()}
    dead = {
        int(dict(one.headers())["dead_letter.offset"]): one
        for one in mixed.messages(mixed.kafka.dead_letter_topic)
    }
    expected = {one["id"]: one["answer"] for one in alone.answers()}
    wrong: Counter[str] = Counter()
    for at, value in enumerate(values):
        wrong["neither answered nor a dead letter, or both"] += (at in told) == (at in dead)
        wrong["other bytes in the dead letter"] += at in dead and dead[at].value() != value
        wrong["read otherwise than the schema says"] += (at in told) != readable(value)
    for number, at in enumerate(places):
        said = told.get(at, {"id": None, "answer": None})
        wrong["good answers changed"] += said["answer"] != expected[f"q{number}"]
        wrong["good answers changed"] += said["id"] != f"q{number}"
    for reason, count in summary.dead_letters.most_common():
        print(f"{count:6} {reason}")
    still = len(told) - len(good)
    print(f"{still:6} mutated messages could still be read; {len(set(expected.values()))} answers")
    return +wrong


def main() -> int:
    """Have a broker and a session for the length of it."""
    sys.path.insert(0, str(Path(__file__).parent))
    from backlog import model

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutated", type=int, default=5_000)
    parser.add_argument("--good", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    jars = load_settings().jars
    with tempfile.TemporaryDirectory(prefix="qa-assets-fuzz-") as place:
        home = Path(place)
        (home / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        base = KafkaSettings(bootstrap_servers=address, partitions=1)
        with broker(home / "kafka", address, jars):
            session = create_session("fuzz", load_settings(home=home))
            try:
                wrong = differences(session, model("spark-nlp", home, session), asked, base, home)
            finally:
                stop_session(session)
    print("\n".join(f"{count} {what}" for what, count in wrong.items()) or "nothing went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
