"""One question from the shell."""

from pathlib import Path

from typer.testing import CliRunner

from qa_assets.cli import app
from qa_assets.cli.ask import read_context
from qa_assets.models import tiny_t5

_CONTEXT = "The Norse leader was Rollo."


def test_context_is_a_file_or_the_text_itself(tmp_path: Path) -> None:
    story = tmp_path / "story.txt"
    story.write_text(_CONTEXT, encoding="utf-8")
    assert read_context(str(story)) == _CONTEXT
    assert read_context(_CONTEXT) == _CONTEXT
    assert read_context(_CONTEXT * 100) == _CONTEXT * 100


def test_a_model_answers(tmp_path: Path) -> None:
    model = tiny_t5.create([_CONTEXT] * 20, tmp_path / "model", ["unavailable"], seed=1)
    told = CliRunner().invoke(
        app, ["ask", "Who led?", "--context", _CONTEXT, "--model", str(model)]
    )
    assert told.exit_code == 0, told.output
    assert len(told.stdout.strip().splitlines()) == 1


def test_says_what_is_wrong(tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        environment = {"QA_ASSETS_HOME": str(tmp_path)}
        told = CliRunner().invoke(app, ["ask", *arguments], env=environment)
        assert told.exit_code == 1
        assert not told.stdout
        return told.stderr

    assert "the question is empty" in said(" ", "--context", _CONTEXT)
    assert "the context is empty" in said("Who?", "--context", " ")
    assert str(tmp_path) in said("Who?", "--context", str(tmp_path))
    assert "make run PIPELINE=quickstart" in said("Who?", "--context", _CONTEXT)
    assert "needs a --context" in said("Who?")
    nowhere = tmp_path / "nowhere"
    assert "no such directory" in said("Who?", "--context", _CONTEXT, "--model", str(nowhere))
