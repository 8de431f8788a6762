"""The embedded Kafka broker: one node in KRaft mode on loopback, run as a child process.

For development: it does not replicate, and authenticates nobody without a `Login`. Topics stay in
its data directory from run to run.
"""

import ipaddress
import json
import logging
import random
import signal
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from qa_assets.local import process
from qa_assets.local.jars import ensure_jars
from qa_assets.local.java import java_executable

logger = logging.getLogger(__name__)

SETTING = "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS"
_START_S = 60.0
_PORTS = 20_000, 32_000  # below those that Linux gives to clients
_STOP_GRACE_S = 20.0
_PROPERTIES = Path(__file__).with_name("broker.properties")
_LOG_CONFIG = Path(__file__).with_name("broker-log4j2.properties")


class BrokerError(RuntimeError):
    """The broker cannot run; the message names the reason and the remedy."""


@dataclass(frozen=True)
class Broker:
    """A running broker; `started` is false for one that was running before."""

    pid: int
    started: bool


@dataclass(frozen=True)
class Login:
    """What clients need to log in to a broker, to test the settings of real clusters."""

    client: Mapping[str, str]
    """librdkafka's options of the only user."""
    properties: Mapping[str, str]
    """The broker's, over those without a login."""
    format_options: Sequence[str]
    """Add the user when the broker's data is formatted."""


@contextmanager
def broker(
    data_dir: Path, bootstrap_servers: str, jars_dir: Path, login: Login | None = None
) -> Iterator[Broker]:
    """Run a broker for the length of the block.

    A broker that already runs on the data directory is used, and left running. A new one also ends
    when this process, or the calling thread, is killed. It listens on `host:port` of loopback;
    `data_dir`, created if it is missing, is for its log segments, properties, log file and pid.

    Raises:
        BrokerError: the address cannot be used, or the broker does not come up.
        JarError: its jars cannot be fetched.
        JavaError: there is no Java 17.
    """
    host, port = _loopback(bootstrap_servers)
    client = dict(login.client if login else {}) | {"bootstrap.servers": bootstrap_servers}
    if running := _running(data_dir, client):
        yield running
        return
    _require_free(host, port)
    ensure_jars(jars_dir, ("kafka",))
    java: list[str | Path] = [
        java_executable(),
        "-Xmx384m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # quick to start; never busy
        f"-Dlog4j2.configurationFile={_LOG_CONFIG.as_uri()}",
        "-cp",
        f"{jars_dir}/kafka/*",
    ]
    data_dir.mkdir(parents=True, exist_ok=True)
    log, pid_file = data_dir / "broker.log", data_dir / "broker.pid"
    properties = _write_properties(data_dir, host, port, login.properties if login else {})
    if not (data_dir / "log" / "meta.properties").exists():
        _format(java, properties, login.format_options if login else [])
    log.unlink(missing_ok=True)
    started = time.monotonic()
    # SIGKILL: after SIGTERM it may take minutes, and it recovers its log at the next start
    child = process.start([*java, "kafka.Kafka", properties], log, orphaned=signal.SIGKILL)
    try:
        known = {"pid": child.pid, "created": _created(child.pid), "address": bootstrap_servers}
        pid_file.write_text(json.dumps(known))
        if not _comes_up(client, child.pid):
            # by the time: a JVM whose first thread has ended may not be reaped yet
            late = time.monotonic() - started >= _START_S
            fault = f"did not answer in {_START_S:.0f} s" if late else "ended"
            raise BrokerError(
                f"the Kafka broker on {bootstrap_servers} {fault}; the end of {log}:\n"
                f"{_tail(log.read_text(errors='replace'))}"
            )
        logger.info("Kafka broker on %s in %.1f s", bootstrap_servers, time.monotonic() - started)
        yield Broker(child.pid, started=True)
    finally:
        process.stop(child, _STOP_GRACE_S)
        pid_file.unlink(missing_ok=True)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on, and that no client's connection is given meanwhile."""
    while True:
        # not Python's seeded generator: processes of the same seed would draw the same ports
        port = random.SystemRandom().randrange(*_PORTS)
        with suppress(OSError):
            socket.create_server((host, port)).close()
            return port


def _loopback(bootstrap_servers: str) -> tuple[str, int]:
    """Host and port, if they are on loopback: the broker must not be reached from outside."""
    host, _, port = bootstrap_servers.rpartition(":")
    try:
        if ipaddress.IPv4Address("127.0.0.1" if host == "localhost" else host).is_loopback:
            return host, int(port)
    except ValueError:
        pass
    raise BrokerError(
        f"the embedded broker listens on one loopback address only, not on {bootstrap_servers!r}: "
        f"set {SETTING} to 127.0.0.1:PORT, or QA_ASSETS_KAFKA_EMBEDDED=false for a broker of yours"
    )


def _require_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise BrokerError(
            f"the embedded broker cannot listen on port {port} of {host} ({error.strerror}): set"
            f" {SETTING} to {host}:ANOTHER_PORT, or QA_ASSETS_KAFKA_EMBEDDED=false if what listens"
            " there is the broker to use"
        ) from None


def _running(data_dir: Path, client: dict[str, str]) -> Broker | None:
    """The broker that runs on the data directory, if there is one.

    Raises:
        BrokerError: it listens on another address, or does not answer.
    """
    try:
        known = json.loads((data_dir / "broker.pid").read_text())
        pid, address = known["pid"], known["address"]
        if _created(pid) != known["created"]:  # ended; its pid may be reused
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if address != client["bootstrap.servers"]:
        raise BrokerError(
            f"a broker runs on {data_dir} already, on {address}: end what started it "
            f"(process {pid}), or set {SETTING}={address}"
        )
    if not _comes_up(client, pid):  # it may just be starting
        raise BrokerError(
            f"the broker on {data_dir} (process {pid}) does not answer: see its broker.log there"
        )
    return Broker(pid, started=False)


def _created(pid: int) -> float | None:
    """When a process was started, in seconds since the epoch; None: it has ended."""
    try:
        child = psutil.Process(pid)
        return None if child.status() == psutil.STATUS_ZOMBIE else child.create_time()
    except psutil.NoSuchProcess:
        return None


def _write_properties(data_dir: Path, host: str, port: int, login: Mapping[str, str]) -> Path:
    controller = f"{host}:{free_port(host)}"
    properties = {
        "controller.quorum.voters": f"1@{controller}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "log.dirs": (data_dir / "log").absolute().as_posix(),
        **login,
    }
    properties["listeners"] = f"{properties['advertised.listeners']},CONTROLLER://{controller}"
    path = data_dir / "server.properties"
    lines = [f"{key}={value}\n" for key, value in properties.items()]
    path.write_text(_PROPERTIES.read_text() + "".join(lines))  # the last value of a key counts
    return path


def _format(java: list[str | Path], properties: Path, options: Sequence[str]) -> None:
    """Format an empty data directory for KRaft, with a new cluster id."""
    cluster_id = f"A{urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]}"  # no "-" in front
    command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", properties]
    command += options
    try:
        formatted = subprocess.run(command, capture_output=True, text=True, timeout=_START_S)
    except subprocess.TimeoutExpired:
        raise BrokerError(f"formatting the broker's data took over {_START_S:.0f} s") from None
    if formatted.returncode != 0:
        raise BrokerError(
            f"the broker's data directory {properties.parent} cannot be formatted:\n"
            f"{_tail(formatted.stdout + formatted.stderr)}"
        )


def _comes_up(client: dict[str, str], pid: int) -> bool:
    """Wait for the broker's metadata, for a minute at most and as long as it is alive."""
    host, _, port = client["bootstrap.servers"].rpartition(":")
    silent = logging.getLogger(f"{__name__}.librdkafka")
    silent.disabled = True
    deadline = time.monotonic() + _START_S
    while _created(pid) is not None and time.monotonic() < deadline:
        try:
            # first a socket: librdkafka would wait between attempts to connect
            socket.create_connection((host, int(port)), timeout=1).close()
            AdminClient(client, logger=silent).list_topics(timeout=5)
            return True
        except (OSError, KafkaException):
            time.sleep(0.1)
    return False


def _tail(text: str) -> str:
    """The last lines of a log without Java's stack traces."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("\tat ")]
    return "\n".join(lines[-12:])
