"""The rounds: send requests, start the step, kill something, until there were enough kills."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from confluent_kafka import Producer

from qa_assets.local import process
from qa_assets.local.broker import Broker, broker, free_port
from qa_assets.streaming.config import KafkaConfig, StreamConfig, StreamContext
from qa_assets.streaming.kafka import client_config, end_offsets, ensure_topics
from qa_assets_tests.chaos import kills
from qa_assets_tests.chaos.questions import message
from qa_assets_tests.chaos.step import arguments
from qa_assets_tests.chaos.verdict import outcome, violations
from qa_assets_tests.streaming.stream import stream_context

_BATCH, _UNDISTURBED_BATCH = 10, 200
"""Messages in a micro-batch: of the runs that are killed, and of the one that is not."""
_STEP_S = 1800.0
_TRIES = 3


@dataclass
class Result:
    """Counts of the rounds, and the violations."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By victim and moment."""
    rounds: int = 0
    messages: int = 0
    requests: int = 0
    batches: int = 0
    seconds: float = 0.0
    violations: Counter[str] = field(default_factory=Counter)


class Chaos:
    """A broker, a stream on it and its consumer, the step."""

    def __init__(self, home: Path, jars: Path, seed: int) -> None:
        """Take a directory that holds `onnx`, and gets all else."""
        self.home, self.jars, self.seed = home, jars, seed
        if not (home / "jars").exists():
            (home / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        self.context = stream_context(KafkaConfig(bootstrap_servers=address), "chaos")
        self._running = ExitStack()
        self._broker: Broker | None = None
        self._good: set[bytes] = set()

    def run(self, kill_count: int, per_round: int, say: Callable[[str], None]) -> Result:
        """Kill so many times, then compare with a run that was left alone."""
        rng, result, started = random.Random(self.seed), Result(), time.monotonic()
        try:
            self._start_broker()
            kafka, topic = self.context.kafka, self.context.topics.requests
            ensure_topics(kafka, [topic])
            topic_id = end_offsets(kafka, topic).topic_id
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
            self._finish(self.context, "killed", _BATCH)
            # the same requests, as another consumer
            names = {"responses": "whole.answers", "dead_letters": "whole.dead"}
            topics = self.context.topics.model_copy(update={**names, "consumer_group": "whole"})
            undisturbed = replace(self.context, topics=topics)
            self._finish(undisturbed, "undisturbed", _UNDISTURBED_BATCH)
            result.violations = violations(
                self.context,
                self._good,
                outcome(self.context, self.home / "killed", topic_id),
                outcome(undisturbed, self.home / "undisturbed", topic_id),
            )
            table = self.home / "killed" / "table" / f"topic_id={topic_id}"
            result.batches = len(list(table.iterdir()))
        finally:
            self._running.close()
        result.seconds = time.monotonic() - started
        return result

    def _round(self, kill: kills.Kill, topic_id: str, rng: random.Random) -> bool:
        assert self._broker is not None
        child = self._step(self.context, "killed", _BATCH)
        try:
            step = psutil.Process(child.pid)
            done = kills.wait_for(kill, step, self.home / "killed", topic_id)
            if done:
                done = kills.execute(kill, step, self._broker.pid)
                if "broker" in kill.victim:
                    time.sleep(rng.uniform(0, 2))
                    self._start_broker()
            child.wait(_STEP_S)
            return done
        finally:
            process.stop(child, grace_s=5)

    def _finish(self, context: StreamContext, out: str, batch: int) -> None:
        """Answer all that is left, undisturbed but by a machine too busy to be in time."""
        for _ in range(_TRIES):
            if self._step(context, out, batch).wait(_STEP_S) == 0:
                return
        raise RuntimeError(f"undisturbed runs failed: see {self.home / 'step.log'}")

    def _step(self, context: StreamContext, out: str, batch: int) -> "subprocess.Popen[bytes]":
        config = StreamConfig(max_offsets_per_trigger=batch, max_messages_per_run=1_000_000)
        command: list[str | Path] = [sys.executable, "-m", "qa_assets_tests.chaos.step"]
        command += [self.home, self.home / out, *arguments(replace(context, config=config))]
        return process.start(command, self.home / "step.log")

    def _start_broker(self) -> None:
        self._running.close()
        self._broker = self._running.enter_context(
            broker(self.home / "kafka", self.context.kafka.bootstrap_servers, self.jars)
        )

    def _send(self, result: Result, count: int) -> None:
        producer = Producer(client_config(self.context.kafka) | {"enable.idempotence": True})
        for number in range(result.messages, result.messages + count):
            key, value, good = message(number, self.seed)
            producer.produce(self.context.topics.requests, value, key)
            result.requests += good
            if good:
                self._good.add(value)
        if producer.flush(60):
            raise RuntimeError("the broker did not take the requests")
        result.messages += count
