"""What `qa-assets ui` serves beside Dagster."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from qa_assets.cli.ui import report_server
from qa_assets.local.broker import free_port
from qa_assets.settings import load_settings


def test_reports_are_served_until_the_end(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, report_port=free_port())
    version = settings.artifacts / "squad" / "test_report" / "v1"
    url = f"http://127.0.0.1:{settings.report_port}/squad/v1/report.html"
    with report_server(settings, ["squad"]) as server:
        version.mkdir(parents=True)  # the first report may come later than the UI
        (version / "report.html").write_text("<p>report")
        assert _get(url).text == "<p>report"
    assert server.poll() is not None
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=1)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_all_of_it_ends_with_it(tmp_path: Path, jars_dir: Path, sent: signal.Signals) -> None:
    """Even started where SIGINT is ignored, as by a script in the background."""
    (tmp_path / "jars").symlink_to(jars_dir)
    port = free_port()
    environment = {
        "QA_ASSETS_HOME": str(tmp_path),
        "QA_ASSETS_UI_PORT": str(port),
        "QA_ASSETS_REPORT_PORT": str(free_port()),
        "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
    }
    command = f"trap '' INT; exec {Path(sys.executable).with_name('qa-assets')} ui"
    with (tmp_path / "log").open("wb") as log:
        served = subprocess.Popen(
            ["sh", "-c", command], env=os.environ | environment, stdout=log, stderr=log
        )
    try:
        assert _get(f"http://127.0.0.1:{port}/server_info", within_s=60).ok
        family = psutil.Process(served.pid).children(recursive=True)
        assert len(family) > 4
        served.send_signal(sent)
        served.wait(40)
        _, left = psutil.wait_procs(family, timeout=30)
        assert not left
    finally:
        served.kill()


def _get(url: str, within_s: float = 20) -> requests.Response:
    deadline = time.monotonic() + within_s
    while True:
        try:
            return requests.get(url, timeout=5)
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
