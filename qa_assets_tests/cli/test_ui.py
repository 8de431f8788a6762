"""What `qa-assets ui` serves beside Dagster."""

import time
from pathlib import Path

import pytest
import requests

from qa_assets.cli.ui import report_server
from qa_assets.settings import load_settings
from qa_assets_tests.conftest import free_port


def test_reports_are_served_until_the_end(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, report_port=free_port())
    version = settings.artifacts / "test_report" / "v1"
    url = f"http://127.0.0.1:{settings.report_port}/v1/report.html"
    with report_server(settings) as server:
        version.mkdir(parents=True)  # the first report may come later than the UI
        (version / "report.html").write_text("<p>report")
        assert _get(url).text == "<p>report"
    assert server.poll() is not None
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=1)


def _get(url: str) -> requests.Response:
    deadline = time.monotonic() + 20
    while True:
        try:
            return requests.get(url, timeout=5)
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
