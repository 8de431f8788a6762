"""Ray for the length of a search: a cluster, its size, and what its workers log.

Knows nothing of what runs on it.
"""

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueListener
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qa_assets.settings import RaySettings

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # reports home otherwise
    "RAY_worker_niceness": "0",  # of 15: threads that wait for one another hardly move on then
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # of 2 s, which every report and end waits for
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # without use_gpu, workers see no GPU
    "RAY_AIR_NEW_OUTPUT": "0",  # prints tables even if told not to
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard: MLflow has it all
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process less
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}


class ClusterError(RuntimeError):
    """A cluster that is too small for a trial."""


@contextmanager
def cluster(ray_settings: "RaySettings") -> Iterator[tuple[int, int]]:
    """Connect to the cluster, or run one here; yield CPUs of a worker and trials at a time.

    Raises:
        ClusterError: it has not the resources of one trial.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray
    from ray.job_config import JobConfig

    temporary = None
    if ray_settings.address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        temporary = tempfile.mkdtemp(prefix="ray-")  # short: paths of sockets are limited
        options: dict[str, Any] = {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": 100 * 2**20,  # paths and metrics are all that it holds
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": temporary,
        }
    else:
        options = {"address": ray_settings.address}
    # of Ray's processes, not of this one: they have exceptions to raise, and our progress to log
    job = JobConfig()
    job.set_py_logging_config(ray.LoggingConfig(log_level="ERROR"))
    try:
        ray.init(**options, logging_level=logging.ERROR, job_config=job)
        yield _resources(ray_settings)
    finally:
        ray.shutdown()
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def _resources(ray_settings: "RaySettings") -> tuple[int, int]:
    import ray

    workers = ray_settings.workers
    total = ray.cluster_resources()
    cpus = int(total.get("CPU", 0))
    largest = max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
    # on CPUs a trial takes all there is, but a worker no more than a machine has
    per_worker = 1 if ray_settings.use_gpu else max(1, min(largest, cpus // workers))
    concurrent = cpus // (workers * per_worker)
    if ray_settings.use_gpu:
        concurrent = min(concurrent, int(total.get("GPU", 0)) // workers)
    if not concurrent:
        raise ClusterError(
            f"{workers} workers want a {'GPU' if ray_settings.use_gpu else 'CPU'} each, Ray has "
            f"{cpus} CPUs and {int(total.get('GPU', 0))} GPUs: set QA_ASSETS_RAY_WORKERS, "
            "QA_ASSETS_RAY_USE_GPU or QA_ASSETS_RAY_ADDRESS"
        )
    return per_worker, concurrent


@contextmanager
def worker_logs() -> Iterator[Any]:
    """A queue of Ray; what workers log into it is logged here, where Dagster sees it."""
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
