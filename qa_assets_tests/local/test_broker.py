"""The broker starts, answers, says why it cannot, and leaves no process."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from qa_assets.local.broker import BrokerError, broker, free_port
from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.kafka import end_offsets, ensure_topics

_PARENT = """
import sys, time
from pathlib import Path
from qa_assets.local.broker import broker
with broker(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])) as running:
    print(running.pid, flush=True)
    time.sleep(120)
"""


def _gone(pid: int, timeout_s: float) -> bool:
    try:
        psutil.Process(pid).wait(timeout_s)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_processes_of_the_same_seed_are_given_different_ports() -> None:
    # training seeds Python's generator, and a search does so in several processes at once
    drawn = []
    for _ in range(2):
        random.seed(1)
        drawn.append([free_port() for _ in range(3)])
    assert drawn[0] != drawn[1]


def test_topics_outlive_the_broker_and_the_broker_not_its_block(
    jars_dir: Path, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    kafka = KafkaConfig(bootstrap_servers=address, partitions=3)
    with broker(tmp_path / "data", address, jars_dir) as first:
        ensure_topics(kafka, ["kept"])
        before = end_offsets(kafka, "kept")
        with broker(tmp_path / "data", address, jars_dir) as same:
            assert same.pid == first.pid
            assert not same.started
        assert psutil.pid_exists(first.pid), "a broker that was reused must go on"
        # Ctrl-C in a terminal goes to the process group of the foreground
        assert os.getpgid(first.pid) != os.getpgid(0)
    assert _gone(first.pid, 0)
    # what a killed run leaves: the pid of a process that is another one
    (tmp_path / "data" / "broker.pid").write_text(
        f'{{"pid": {os.getpid()}, "created": 1.0, "address": "{address}"}}'
    )
    with broker(tmp_path / "data", address, jars_dir) as second:
        assert second.started
        assert end_offsets(kafka, "kept") == before
        assert before.offsets == {0: 0, 1: 0, 2: 0}
    assert not (tmp_path / "data" / "broker.pid").exists()


def test_it_dies_with_a_parent_that_is_killed(jars_dir: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    kafka = KafkaConfig(bootstrap_servers=address)
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, tmp_path / "data", address, jars_dir],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent:
        pid = int(parent.stdout.readline())
        ensure_topics(kafka, ["kept"])
        parent.send_signal(signal.SIGKILL)
    assert _gone(pid, 15)
    with broker(tmp_path / "data", address, jars_dir):
        assert end_offsets(kafka, "kept").total == 0


def test_a_port_in_use_is_named_with_the_setting(jars_dir: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(BrokerError, match=rf"{port}.*QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS"),
            broker(tmp_path / "data", f"127.0.0.1:{port}", jars_dir),
        ):
            pass
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("address", ["0.0.0.0:9092", "kafka.example:9092", "127.0.0.1"])
def test_it_listens_on_loopback_only(address: str, jars_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="loopback"), broker(tmp_path, address, jars_dir):
        pass


def test_one_that_does_not_come_up_shows_its_log(jars_dir: Path, tmp_path: Path) -> None:
    meta = tmp_path / "data" / "log" / "meta.properties"
    meta.parent.mkdir(parents=True)
    meta.write_text("version=99\n")
    started = time.monotonic()
    with (
        pytest.raises(
            BrokerError, match=r"ended; the end of .*broker\.log(.|\n)*No readable meta.properties"
        ),
        broker(tmp_path / "data", f"127.0.0.1:{free_port()}", jars_dir),
    ):
        pass
    assert time.monotonic() - started < 20, "its end is noticed, not waited for"
    assert not (tmp_path / "data" / "broker.pid").exists()
