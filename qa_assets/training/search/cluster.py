"""The Ray cluster of a search: connecting or starting, its size, its workers' logs.

What runs on it is in `trial`.
"""

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueListener
from typing import Any

from qa_assets.training.config import RayConfig

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # reports home otherwise
    "RAY_worker_niceness": "0",  # not 15: threads that wait for one another starve then
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # not 2 s: every report and end waits for it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # without use_gpu, workers see no GPU
    "RAY_AIR_NEW_OUTPUT": "0",  # prints tables even with verbose=0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard: MLflow has it all
    "MALLOC_ARENA_MAX": "1",  # a worker's thread has the main heap: `cpu.keep_freed_memory`
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process less
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}


class ClusterError(RuntimeError):
    """A cluster that is too small for one trial; the message names the settings."""


@contextmanager
def cluster(config: RayConfig) -> Iterator[tuple[int, int]]:
    """Connect to the cluster, or start a local one; yield CPUs per worker and concurrent trials.

    Raises:
        ClusterError: it has not the resources of one trial.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray
    from ray.job_config import JobConfig

    temporary = None
    if config.address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        temporary = tempfile.mkdtemp(prefix="ray-")  # short: paths of sockets are limited
        options: dict[str, Any] = {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": 100 * 2**20,  # it holds paths and metrics only
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": temporary,
        }
    else:
        options = {"address": config.address}
    # of Ray's own processes: they raise exceptions, and log our progress by `worker_logs`
    job = JobConfig()
    job.set_py_logging_config(ray.LoggingConfig(log_level="ERROR"))
    try:
        ray.init(**options, logging_level=logging.ERROR, job_config=job)
        yield _resources(config)
    finally:
        ray.shutdown()
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def _resources(config: RayConfig) -> tuple[int, int]:
    import ray

    workers = config.workers
    total = ray.cluster_resources()
    cpus = int(total.get("CPU", 0))
    largest = max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
    # without GPUs a trial takes all CPUs, and a worker at most those of one machine
    per_worker = 1 if config.use_gpu else max(1, min(largest, cpus // workers))
    concurrent = cpus // (workers * per_worker)
    if config.use_gpu:
        concurrent = min(concurrent, int(total.get("GPU", 0)) // workers)
    if not concurrent:
        raise ClusterError(
            f"{workers} workers need a {'GPU' if config.use_gpu else 'CPU'} each, Ray has "
            f"{cpus} CPUs and {int(total.get('GPU', 0))} GPUs: set QA_ASSETS_RAY_WORKERS, "
            "QA_ASSETS_RAY_USE_GPU or QA_ASSETS_RAY_ADDRESS"
        )
    return per_worker, concurrent


@contextmanager
def worker_logs() -> Iterator[Any]:
    """A queue of Ray for log records of workers, which are logged here, where Dagster sees them."""
    from ray.util.queue import Queue

    class Relog(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logging.getLogger(record.name).handle(record)

    queue = Queue(actor_options={"num_cpus": 0})
    listener = QueueListener(queue, Relog())
    listener.start()
    try:
        yield queue
    finally:
        listener.stop()
        queue.shutdown(force=True)
