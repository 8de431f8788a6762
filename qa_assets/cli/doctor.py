"""`qa-assets doctor`: what of this machine is in order, and what to do about the rest."""

import importlib.metadata
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import psutil
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from qa_assets.cli.choice import ChosenPipeline, chosen_settings
from qa_assets.components.pipeline import Pipeline
from qa_assets.core.task import SourceError
from qa_assets.data.sources import ADDRESS, HUB, locate, open_address
from qa_assets.local import jars, java
from qa_assets.models.base_model import BaseModelError, require_files
from qa_assets.settings import Settings
from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.kafka import broker_answers

_GB = 1024**3
_STYLES = {"ok": "green", "note": "yellow", "bad": "red"}


Result = tuple[Literal["ok", "note", "bad"], str]
"""State and message: `bad` keeps the pipeline from running, a `note` does not."""


class Finding(NamedTuple):
    """The result of a check."""

    what: str
    state: str
    message: str


def doctor(pipeline: ChosenPipeline) -> int:
    """Say what of this machine is in order for a pipeline, and what is not."""
    table = Table("", "what", "found", title=f"pipeline {pipeline.name}", title_justify="left")
    findings = list(find(chosen_settings(), pipeline))
    for what, state, message in findings:
        table.add_row(f"[{_STYLES[state]}]{state}[/]", what, message)
    Console().print(table)
    return int(any(finding.state == "bad" for finding in findings))


def find(settings: Settings, pipeline: Pipeline) -> Iterator[Finding]:
    """Check everything that a run of the pipeline needs."""
    base, ray = pipeline.config.model.base, settings.ray
    checks: dict[str, Callable[[], Result]] = {
        "packages": _packages,
        "Java 17": lambda: ("ok", str(java.java_home())),
        "jars": lambda: _jars(settings.jars),
        "memory": lambda: _memory(wanted=4 if base == "tiny" else 8),
        "disk": lambda: _disk(settings.root),
        "GPU": lambda: _gpu(needed=ray.use_gpu),
        "data": lambda: _data(pipeline),
        "base model": lambda: _base(base),
        "UI": lambda: _ui_port(settings.ui_port),
        "Kafka": lambda: _kafka(settings.kafka),
        "Spark": lambda: _engine(settings.spark.master, "QA_ASSETS_SPARK_MASTER"),
        "Ray": lambda: _engine(ray.address or "local", "QA_ASSETS_RAY_ADDRESS"),
    }
    for what, check in checks.items():
        try:
            yield Finding(what, *check())
        except (java.JavaError, SourceError, BaseModelError) as error:
            yield Finding(what, "bad", str(error))


def _packages() -> Result:
    wrong = []
    for requirement in map(Requirement, importlib.metadata.requires("qa-assets") or []):
        try:
            version = importlib.metadata.version(requirement.name)
            if not requirement.specifier.contains(version, prereleases=True):
                wrong.append(f"{requirement.name} {version}, needed {requirement.specifier}")
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
    return ("bad", "; ".join(wrong) + ": run `make setup`") if wrong else ("ok", "as the lock says")


def _jars(directory: Path) -> Result:
    if jars.jars_present(directory):
        return "ok", str(directory)
    return "note", f"not yet under {directory}: fetched by the first run"


def _memory(wanted: int) -> Result:
    available = psutil.virtual_memory().available / _GB
    message = f"{available:.1f} GB available, {wanted} GB wanted"
    return "ok" if available >= wanted else "bad", message


def _disk(home: Path) -> Result:
    place = next(path for path in (home, *home.parents) if path.exists())
    free, writable = shutil.disk_usage(place).free / _GB, os.access(place, os.W_OK)
    message = f"{free:.1f} GB free under {place}, 5 GB wanted" + ("" if writable else "; read-only")
    if free >= 5 and writable:
        return "ok", message
    return "bad", f"{message}: make room or set QA_ASSETS_HOME"


def _gpu(needed: bool) -> Result:
    with suppress(OSError, subprocess.CalledProcessError, IndexError):
        gpus = subprocess.check_output(["nvidia-smi", "-L"], text=True, stderr=subprocess.DEVNULL)
        return "ok", gpus.strip().splitlines()[0]
    return "bad" if needed else "note", "none: training uses the CPU"


def _data(pipeline: Pipeline) -> Result:
    source = pipeline.config.data.source
    if source == "generated":
        return "ok", source
    if source == "official":
        url = next(iter(pipeline.task.raw.official))
        if _reached(url):
            return "ok", f"official, {url} answers"
        return "bad", f"{url} does not answer: name a directory as data.source, or with --source"
    if source.startswith(HUB):
        return "note", f"{source}: fetched from the hub by the first run"
    if ADDRESS in source:
        open_address(source)
        return "note", f"{source}: read by the first run"
    return "ok", ", ".join(map(str, locate(source).values()))


def _base(base: str) -> Result:
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache

    if base == "tiny":
        return "ok", "tiny, made in the run"
    if Path(base).is_dir():
        require_files(Path(base))
        return "ok", base
    if isinstance(try_to_load_from_cache(base, "config.json"), str):
        return "ok", f"{base}, fetched from the hub before"
    if _reached(hf_hub_url(base, "config.json")):
        return "ok", f"{base}: fetched from the hub by the first run"
    hub = constants.ENDPOINT
    return "bad", f"{base} is not at {hub}: name a directory as model.base, or by --base"


def _ui_port(port: int) -> Result:
    if listens("127.0.0.1", port):
        return "note", f"port {port} is in use: set QA_ASSETS_UI_PORT for `make ui`"
    return "ok", f"port {port} is free"


def _kafka(kafka: KafkaConfig) -> Result:
    address, remedy = kafka.bootstrap_servers, "set QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS"
    host, _, port = address.split(",")[0].rpartition(":")
    in_use = port.isdigit() and listens(host, int(port))
    if kafka.embedded and not in_use:
        return "ok", f"embedded; {address} is free for it"
    if in_use and broker_answers(kafka, timeout_s=5):
        if kafka.embedded:
            return "note", f"a broker listens on {address} already"
        return "ok", f"{address} answers"
    if kafka.embedded:
        return "bad", f"{address} is in use: {remedy} to another port"
    return "bad", f"{address} does not answer: {remedy}"


def _engine(address: str, variable: str) -> Result:
    if address.startswith("local"):
        return "ok", f"{address}, started when needed"
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is None or parts.port is None:
        return "note", f"{address}: cannot tell whether it answers"
    if listens(parts.hostname, parts.port):
        return "ok", f"{address} answers"
    return "bad", f"{address} does not answer: set {variable}"


def _reached(url: str) -> bool:
    """Whether a GET of this address would give something."""
    import requests

    try:
        return requests.head(url, timeout=5, allow_redirects=True).ok
    except requests.RequestException:
        return False


def listens(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True
