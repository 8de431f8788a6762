"""The rounds: send some questions, start the step, kill something, until there were enough."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from confluent_kafka import Producer

from qa_assets.local import process
from qa_assets.local.broker import Broker, broker
from qa_assets.streaming.config import KafkaSettings
from qa_assets.streaming.kafka import client_config, end_offsets, ensure_topics
from qa_assets_tests.chaos import kills
from qa_assets_tests.chaos.questions import message
from qa_assets_tests.chaos.verdict import outcome, violations
from qa_assets_tests.conftest import free_port

_BATCH, _WHOLE_BATCH = 10, 200
"""Messages in a batch: of the runs that are killed, and of the one that is not."""
_STEP_S = 1800.0
_TRIES = 3


@dataclass
class Result:
    """What the rounds were, and what came of them."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By victim and moment."""
    rounds: int = 0
    messages: int = 0
    questions: int = 0
    batches: int = 0
    seconds: float = 0.0
    violations: Counter[str] = field(default_factory=Counter)


class Chaos:
    """A broker, its topics and the consumer's step."""

    def __init__(self, home: Path, jars: Path, seed: int) -> None:
        """Take a directory that holds `onnx` or `pipeline`, and gets all else."""
        self.home, self.jars, self.seed = home, jars, seed
        if not (home / "jars").exists():
            (home / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        self.kafka = KafkaSettings(bootstrap_servers=address, consumer_group="chaos")
        self._lives = ExitStack()
        self._broker: Broker | None = None
        self._good: set[bytes] = set()

    def run(self, kill_count: int, per_round: int, say: Callable[[str], None]) -> Result:
        """Kill so many times, then compare with a run that was left alone."""
        rng, result, started = random.Random(self.seed), Result(), time.monotonic()
        try:
            self._start_broker()
            ensure_topics(self.kafka, [self.kafka.questions_topic])
            topic_id = end_offsets(self.kafka, self.kafka.questions_topic).topic_id
            while sum(result.kills.values()) < kill_count:
                self._send(result, per_round)
                kill = kills.draw(rng)
                done = self._round(kill, topic_id, rng)
                result.rounds += 1
                result.kills[kill.victim, kill.moment] += done
                say(
                    f"round {result.rounds}: {kill.victim}, {kill.moment}: "
                    f"{'killed' if done else 'had ended before'}; "
                    f"{sum(result.kills.values())} kills, {time.monotonic() - started:.0f} s"
                )
            self._finish(self.kafka, "broken")
            alone = self.kafka.model_copy(
                update={
                    "answers_topic": "answers.whole",
                    "dead_letter_topic": "dead.whole",
                    "consumer_group": "whole",
                }
            )
            self._finish(alone, "whole", _WHOLE_BATCH)
            result.violations = violations(
                self.kafka,
                topic_id,
                self._good,
                outcome(self.kafka, self.home / "broken", topic_id),
                outcome(alone, self.home / "whole", topic_id),
            )
            table = self.home / "broken" / "table" / f"topic_id={topic_id}"
            result.batches = len(list(table.iterdir()))
        finally:
            self._lives.close()
        result.seconds = time.monotonic() - started
        return result

    def _round(self, kill: kills.Kill, topic_id: str, rng: random.Random) -> bool:
        assert self._broker is not None
        child = self._step(self.kafka, "broken")
        try:
            step = psutil.Process(child.pid)
            done = kills.wait_for(kill, step, self.home / "broken", topic_id)
            if done:
                done = kills.execute(kill, step, self._broker.pid)
                if "broker" in kill.victim:
                    time.sleep(rng.uniform(0, 2))
                    self._start_broker()
            child.wait(_STEP_S)
            return done
        finally:
            process.stop(child, grace_s=5)

    def _finish(self, kafka: KafkaSettings, out: str, batch: int = _BATCH) -> None:
        """Answer all that is left, undisturbed but by a machine that is too busy to be in time."""
        for _ in range(_TRIES):
            if self._step(kafka, out, batch).wait(_STEP_S) == 0:
                return
        raise RuntimeError(f"undisturbed runs failed: see {self.home / 'step.log'}")

    def _step(
        self, kafka: KafkaSettings, out: str, batch: int = _BATCH
    ) -> "subprocess.Popen[bytes]":
        stream = {"max_offsets_per_trigger": batch, "max_questions_per_run": 1_000_000}
        given = json.dumps(kafka.model_dump(mode="json"))
        command: list[str | Path] = [sys.executable, "-m", "qa_assets_tests.chaos.step"]
        command += [self.home, self.home / out, given, json.dumps(stream)]
        return process.start(command, self.home / "step.log")

    def _start_broker(self) -> None:
        self._lives.close()
        self._broker = self._lives.enter_context(
            broker(self.home / "kafka", self.kafka.bootstrap_servers, self.jars)
        )

    def _send(self, result: Result, count: int) -> None:
        producer = Producer(client_config(self.kafka) | {"enable.idempotence": True})
        for number in range(result.messages, result.messages + count):
            key, value, good = message(number, self.seed)
            producer.produce(self.kafka.questions_topic, value, key)
            result.questions += good
            if good:
                self._good.add(value)
        if producer.flush(60):
            raise RuntimeError("the broker did not take the questions")
        result.messages += count
