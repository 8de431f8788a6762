"""The embedded Kafka broker: one node in KRaft mode on loopback, run as a child process.

For development: it does not replicate, and authenticates nobody unless it is `secured`. Topics stay
in its data directory from run to run.
"""

import ipaddress
import json
import logging
import signal
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from qa_assets.local import process
from qa_assets.local.jars import ensure_jars
from qa_assets.local.java import java_executable
from qa_assets.local.secured import Secured

logger = logging.getLogger(__name__)

SETTING = "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS"
_START_S = 60.0
_STOP_GRACE_S = 20.0
_HEAP = "384m"
_LOG_CONFIG = Path(__file__).with_name("broker-log4j2.properties")


class BrokerError(RuntimeError):
    """The broker cannot run; the message names the reason and the remedy."""


@dataclass(frozen=True)
class Broker:
    """A running broker; `started` is false for one that was running before."""

    bootstrap_servers: str
    pid: int
    log: Path
    started: bool


@contextmanager
def broker(
    data_dir: Path, bootstrap_servers: str, jars_dir: Path, secured: Secured | None = None
) -> Iterator[Broker]:
    """Run a broker for the length of the block.

    A broker that runs on the data directory already is used and left running. A broker that is
    started here also ends when this process, or the calling thread, is killed.

    Args:
        data_dir: its log segments, properties, log file and pid; created if it is missing.
        bootstrap_servers: `host:port` of loopback to listen on.
        jars_dir: see `ensure_jars`.
        secured: makes clients log in, over TLS.

    Raises:
        BrokerError: the address cannot be used, or the broker does not come up.
        JarError: its jars cannot be fetched.
        JavaError: there is no Java 17.
    """
    host, port = _loopback(bootstrap_servers)
    client = dict(secured.client if secured else {}) | {"bootstrap.servers": bootstrap_servers}
    running = _running(data_dir, client)
    if running is not None:
        yield running
        return
    _require_free(host, port)
    jars = ensure_jars(jars_dir, ("kafka",)).kafka
    java: list[str | Path] = [
        java_executable(),
        f"-Xmx{_HEAP}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # quick to start; never busy
        f"-Dlog4j2.configurationFile={_LOG_CONFIG.as_uri()}",
        "-cp",
        f"{jars}/*",
    ]
    data_dir.mkdir(parents=True, exist_ok=True)
    log, pid_file = data_dir / "broker.log", data_dir / "broker.pid"
    properties = _write_properties(data_dir, host, port, secured)
    if not (data_dir / "log" / "meta.properties").exists():
        _format(java, properties, secured.format_options() if secured else [])
    log.unlink(missing_ok=True)
    started = time.monotonic()
    # SIGKILL: after SIGTERM it may take minutes, and it recovers its log at the next start
    child = process.start([*java, "kafka.Kafka", properties], log, orphaned=signal.SIGKILL)
    try:
        running_as = {"pid": child.pid, "created": _created(child.pid)}
        pid_file.write_text(json.dumps(running_as | {"bootstrap_servers": bootstrap_servers}))
        if not _comes_up(client, lambda: child.poll() is None):
            ended = f"did not answer in {_START_S:.0f} s" if child.poll() is None else "ended"
            raise BrokerError(
                f"the Kafka broker on {bootstrap_servers} {ended}; the end of {log}:\n"
                f"{_tail(log.read_text(errors='replace'))}"
            )
        logger.info("Kafka broker on %s in %.1f s", bootstrap_servers, time.monotonic() - started)
        yield Broker(bootstrap_servers, child.pid, log, started=True)
    finally:
        process.stop(child, _STOP_GRACE_S)
        pid_file.unlink(missing_ok=True)


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
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BrokerError(
                f"the embedded broker cannot listen on port {port} of {host} "
                f"({error.strerror}): set {SETTING} to {host}:ANOTHER_PORT, or "
                "QA_ASSETS_KAFKA_EMBEDDED=false if what listens there is the broker to use"
            ) from None


def _running(data_dir: Path, client: dict[str, str]) -> Broker | None:
    """The broker that runs on the data directory, if there is one.

    Raises:
        BrokerError: it listens on another address, or does not answer.
    """
    try:
        known = json.loads((data_dir / "broker.pid").read_text())
        pid, created, address = known["pid"], known["created"], known["bootstrap_servers"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if _created(pid) != created:  # ended; its pid may be reused
        return None
    log = data_dir / "broker.log"
    if address != client["bootstrap.servers"]:
        raise BrokerError(
            f"a broker runs on {data_dir} already, on {address}: end what started it "
            f"(process {pid}), or set {SETTING}={address}"
        )
    if not _comes_up(client, lambda: True):  # it may just be starting
        raise BrokerError(f"the broker on {data_dir} (process {pid}) does not answer; log: {log}")
    return Broker(address, pid, log, started=False)


def _created(pid: int) -> float | None:
    """When a process was started, in seconds since the epoch; None: it has ended."""
    try:
        child = psutil.Process(pid)
        return None if child.status() == psutil.STATUS_ZOMBIE else child.create_time()
    except psutil.NoSuchProcess:
        return None


def _write_properties(data_dir: Path, host: str, port: int, secured: Secured | None) -> Path:
    controller, internal = _free_port(host), _free_port(host)
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{host}:{controller}",
        "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": (data_dir / "log").absolute().as_posix(),
        "auto.create.topics.enable": "false",
        # one node, few messages: small and quick to start
        "num.partitions": "1",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.retention.minutes": str(365 * 24 * 60),  # they say what was answered
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        # a killed broker stays registered for so long, and the next cannot start before
        "broker.session.timeout.ms": "6000",
        "broker.heartbeat.interval.ms": "2000",
        "group.initial.rebalance.delay.ms": "0",
        "log.segment.bytes": str(16 * 1024 * 1024),
        "log.retention.hours": "-1",  # requests may wait for long
        "num.network.threads": "2",
        "num.io.threads": "2",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    }
    if secured:
        lines |= secured.properties(host, port, internal)
        lines["listeners"] = f"{lines['advertised.listeners']},CONTROLLER://{host}:{controller}"
    path = data_dir / "server.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    return path


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _format(java: list[str | Path], properties: Path, options: list[str]) -> None:
    """Format an empty data directory for KRaft, with a new cluster id."""
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    if cluster_id.startswith("-"):  # would be read as an option
        cluster_id = "A" + cluster_id[1:]
    command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", properties]
    command += options
    try:
        formatted = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=_START_S
        )
    except subprocess.TimeoutExpired:
        raise BrokerError(f"formatting the broker's data took over {_START_S:.0f} s") from None
    if formatted.returncode != 0:
        raise BrokerError(
            f"the broker's data directory {properties.parent} cannot be formatted:\n"
            f"{_tail(formatted.stdout + formatted.stderr)}"
        )


def _comes_up(client: dict[str, str], alive: Callable[[], bool]) -> bool:
    """Wait until the broker answers, for a minute at most and as long as it is alive."""
    deadline = time.monotonic() + _START_S
    while alive() and time.monotonic() < deadline:
        if _answers(client):
            return True
        time.sleep(0.1)
    return False


def _answers(client: dict[str, str]) -> bool:
    """Whether the broker returns its metadata."""
    host, _, port = client["bootstrap.servers"].rpartition(":")
    with socket.socket() as probe:  # librdkafka would wait between attempts to connect
        probe.settimeout(1)
        if probe.connect_ex((host, int(port))) != 0:
            return False
    silent = logging.getLogger(f"{__name__}.librdkafka")
    silent.disabled = True
    try:
        AdminClient(client, logger=silent).list_topics(timeout=5)
    except KafkaException:
        return False
    return True


def _tail(text: str) -> str:
    """The last lines of a log without Java's stack traces."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("\tat ")]
    return "\n".join(lines[-12:])
