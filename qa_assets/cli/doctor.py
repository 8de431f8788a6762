"""`qa-assets doctor`: what of this machine is in order, and what to do about the rest."""

import importlib.metadata
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psutil
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from qa_assets.components.pipeline import Pipeline
from qa_assets.local import jars, java
from qa_assets.settings import Settings

_GB = 1024**3
_STYLES = {"ok": "green", "note": "yellow", "bad": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `bad` keeps the pipeline from running, a `note` does not."""

    what: str
    state: Literal["ok", "note", "bad"]
    message: str


def examine(settings: Settings, pipeline: Pipeline) -> int:
    """Print every finding; returns 1 if one is bad."""
    console = Console()
    table = Table("", "what", "found", title=f"pipeline {pipeline.name}", title_justify="left")
    findings = []
    for finding in find(settings, pipeline):
        findings.append(finding)
        style = _STYLES[finding.state]
        table.add_row(f"[{style}]{finding.state}[/]", finding.what, finding.message)
    console.print(table)
    return int(any(finding.state == "bad" for finding in findings))


def find(settings: Settings, pipeline: Pipeline) -> Iterator[Finding]:
    """Look at everything that a run of the pipeline needs."""
    yield _packages()
    yield _java()
    yield _jars(settings)
    yield _memory(pipeline)
    yield _disk(settings)
    yield _gpu(settings)
    yield _data(pipeline)
    yield _base(pipeline)
    for look in (_ui_port, _kafka, _spark, _ray):
        yield look(settings)


def _packages() -> Finding:
    wrong = []
    for line in importlib.metadata.requires("qa-assets") or []:
        requirement = Requirement(line)
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version}, needed {requirement.specifier}")
    if wrong:
        return Finding("packages", "bad", "; ".join(wrong) + ": run `make setup`")
    return Finding("packages", "ok", "as the lock says")


def _java() -> Finding:
    try:
        home = java.java_home()
    except java.JavaError as error:
        return Finding("Java 17", "bad", str(error))
    return Finding("Java 17", "ok", str(home))


def _jars(settings: Settings) -> Finding:
    if jars.jars_present(settings.jars):
        return Finding("jars", "ok", str(settings.jars))
    return Finding("jars", "note", f"not yet under {settings.jars}: fetched by the first run")


def _memory(pipeline: Pipeline) -> Finding:
    available = psutil.virtual_memory().available / _GB
    needed = 4 if pipeline.config.model.base == "tiny" else 8
    message = f"{available:.1f} GB available, {needed} GB wanted"
    return Finding("memory", "ok" if available >= needed else "bad", message)


def _disk(settings: Settings) -> Finding:
    place = settings.home.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / _GB
    writable = os.access(place, os.W_OK)
    message = f"{free:.1f} GB free under {place}, 5 GB wanted" + ("" if writable else "; read-only")
    if free >= 5 and writable:
        return Finding("disk", "ok", message)
    return Finding("disk", "bad", f"{message}: make room or set QA_ASSETS_HOME")


def _gpu(settings: Settings) -> Finding:
    tool = shutil.which("nvidia-smi")
    if tool:
        found = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip():
            return Finding("GPU", "ok", found.stdout.strip().splitlines()[0])
    state: Literal["bad", "note"] = "bad" if settings.ray.use_gpu else "note"
    return Finding("GPU", state, "none: training uses the CPU")


def _data(pipeline: Pipeline) -> Finding:
    from qa_assets.core.task import SourceError
    from qa_assets.data.sources import ADDRESS, HUB, locate, open_address

    source = pipeline.config.data.source
    if source == "generated":
        return Finding("data", "ok", source)
    if source == "official":
        url = next(iter(pipeline.task.raw.official))
        if _reached(url):
            return Finding("data", "ok", f"official, {url} answers")
        message = f"{url} does not answer: name a directory as data.source, or with --source"
        return Finding("data", "bad", message)
    try:
        if source.startswith(HUB):
            return Finding("data", "note", f"{source}: fetched from the hub by the first run")
        if ADDRESS in source:
            open_address(source)
            return Finding("data", "note", f"{source}: read by the first run")
        return Finding("data", "ok", ", ".join(map(str, locate(source).values())))
    except SourceError as error:
        return Finding("data", "bad", str(error))


def _base(pipeline: Pipeline) -> Finding:
    from qa_assets.models.base_model import BaseModelError, require_files

    base = pipeline.config.model.base
    if base == "tiny":
        return Finding("base model", "ok", "tiny, made in the run")
    if not Path(base).is_dir():
        return _on_hub(base)
    try:
        require_files(Path(base))
    except BaseModelError as error:
        return Finding("base model", "bad", str(error))
    return Finding("base model", "ok", base)


def _on_hub(base: str) -> Finding:
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(base, "config.json"), str):
        return Finding("base model", "ok", f"{base}, fetched from the hub before")
    if _reached(hf_hub_url(base, "config.json")):
        return Finding("base model", "ok", f"{base}: fetched from the hub by the first run")
    message = f"{base} is not at {constants.ENDPOINT}: name a directory as model.base, or by --base"
    return Finding("base model", "bad", message)


def _ui_port(settings: Settings) -> Finding:
    if listens("127.0.0.1", settings.ui_port):
        message = f"port {settings.ui_port} is in use: set QA_ASSETS_UI_PORT for `make ui`"
        return Finding("UI", "note", message)
    return Finding("UI", "ok", f"port {settings.ui_port} is free")


def _kafka(settings: Settings) -> Finding:
    from qa_assets.streaming.kafka import broker_answers

    address = settings.kafka.bootstrap_servers
    first = address.split(",")[0]
    host, _, port = first.rpartition(":")
    in_use = port.isdigit() and listens(host, int(port))
    answers = in_use and broker_answers(settings.kafka, timeout_s=5)
    if settings.kafka.embedded:
        if not in_use:
            return Finding("Kafka", "ok", f"embedded; {address} is free for it")
        if answers:
            return Finding("Kafka", "note", f"a broker listens on {address} already")
        message = f"{address} is in use: set QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS to another port"
        return Finding("Kafka", "bad", message)
    if answers:
        return Finding("Kafka", "ok", f"{address} answers")
    message = f"{address} does not answer: set QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS"
    return Finding("Kafka", "bad", message)


def _spark(settings: Settings) -> Finding:
    return _engine("Spark", settings.spark.master, "QA_ASSETS_SPARK_MASTER")


def _ray(settings: Settings) -> Finding:
    return _engine("Ray", settings.ray.address or "local", "QA_ASSETS_RAY_ADDRESS")


def _engine(name: str, address: str, variable: str) -> Finding:
    if address.startswith("local"):
        return Finding(name, "ok", f"{address}, started when needed")
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is None or parts.port is None:
        return Finding(name, "note", f"{address}: cannot tell whether it answers")
    if listens(parts.hostname, parts.port):
        return Finding(name, "ok", f"{address} answers")
    return Finding(name, "bad", f"{address} does not answer: set {variable}")


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
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False
