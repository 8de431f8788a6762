"""`qa-assets evaluate`, as people call it."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from qa_assets.cli import app
from qa_assets.models import tiny_t5
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.tasks.question_answering.generated import generate
from qa_assets.tasks.question_answering.squad_files import read_examples
from qa_assets_tests.shared_data import SQUAD_DIR, requires_squad

KEYS = ["exact", "f1", "total", "HasAns_exact", "HasAns_f1", "HasAns_total"]
KEYS += ["NoAns_exact", "NoAns_f1", "NoAns_total"]


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    generate(out, 200)
    return out / "dev-v2.0.json"


def predictions(path: Path, told: dict[str, str]) -> Path:
    path.write_text(json.dumps(told))
    return path


def test_predictions_with_missing_and_unknown_ids(data: Path, tmp_path: Path) -> None:
    rows = read_examples(data)
    told = {row.id: (*row.references, "")[0] for row in rows}
    answerable = next(row.id for row in rows if row.references)
    del told[answerable]
    told["stranger"] = "x"
    file, out = predictions(tmp_path / "said.json", told), tmp_path / "new" / "report"
    result = evaluate("--data", data, "--predictions", file, "--json", "--report", out)
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert list(scores) == KEYS
    assert scores["exact"] == pytest.approx(100 * (len(rows) - 1) / len(rows))
    assert scores["total"] == len(rows)
    assert f"1 questions without a prediction, taken as abstained on: {answerable}" in result.stderr
    assert "1 predictions without a question, left out: stranger" in result.stderr
    assert sorted(file.name for file in out.iterdir()) == ["report.html", "report.json"]
    assert "left out: stranger" in (out / "report.html").read_text()
    assert json.loads((out / "report.json").read_text())["scores"]["candidate"] == scores


def test_old_files_have_no_unanswerable_questions(tmp_path: Path) -> None:
    answer = {"text": "x", "answer_start": 0}
    question = {"id": "1", "question": "?", "answers": [answer]}
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"data": [{"paragraphs": [{"context": "x", "qas": [question]}]}]}))
    file = predictions(tmp_path / "said.json", {"1": "X"})
    result = evaluate("--data", data, "--predictions", file, "--json")
    assert json.loads(result.stdout) == {
        key: 1 if key in ("total", "HasAns_total") else 100.0 for key in KEYS
    } | {"NoAns_exact": None, "NoAns_f1": None, "NoAns_total": 0}


def test_model(data: Path, tmp_path: Path) -> None:
    rows = read_examples(data)
    texts = [QuestionAnswering().prompts(row)[0].source for row in rows]
    model = tiny_t5.create(texts, tmp_path / "model", ["unavailable"], seed=1)
    result = evaluate("--data", data, "--model", model, "--report", tmp_path / "report")
    assert result.exit_code == 0, result.stderr
    assert "HasAns F1" in result.stdout
    assert "Can its confidence be trusted?" in (tmp_path / "report" / "report.html").read_text()


def test_bad_input_is_one_message_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    good, strangers, broken = (tmp_path / name for name in ("good", "strangers", "broken"))
    predictions(good, {read_examples(data)[0].id: ""})
    predictions(strangers, {"a": "", "b": ""})
    broken.write_text("[")
    out = tmp_path / "out"
    for arguments, message in (
        (("--data", data), "either --predictions or --model"),
        (("--data", data, "--predictions", good, "--model", "m"), "either --predictions or"),
        (("--data", broken, "--predictions", good), f"{broken} is not JSON"),
        (("--data", data, "--predictions", tmp_path / "no"), "cannot be read"),
        (("--data", data, "--predictions", strangers), "its ids: a, b"),
        (("--data", data, "--model", tmp_path / "no"), "there is no such directory"),
        (("--data", data, "--model", tmp_path), "lacks config.json"),
    ):
        result = evaluate(*arguments, "--report", out)
        assert (result.exit_code, result.stdout) == (1, "")
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert not out.exists()
    result = evaluate("--data", data, "--predictions", good, "--report", good / "below")
    assert "is a file" in result.stderr


@requires_squad
def test_official_figures() -> None:
    said = SQUAD_DIR / "parity" / "predictions_nlnet.json"
    result = evaluate("--data", SQUAD_DIR / "dev-v2.0.json", "--predictions", said, "--json")
    assert list(json.loads(result.stdout).values()) == [
        75.82750779078582, 78.7777677038145, 11873, 69.61875843454791, 75.52773885752187, 5928,
        82.01850294365012, 82.01850294365012, 5945,
    ]  # fmt: skip
