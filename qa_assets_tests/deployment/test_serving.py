"""Both engines answer frames of questions alike, and no bad row harms another."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qa_assets.deployment import provenance, serving
from qa_assets.deployment.provenance import Engine, Provenance, ProvenanceError
from qa_assets.models import base_model, decoding
from qa_assets.tasks.question_answering.prompts import source_text
from qa_assets.tasks.question_answering.windows import PieceCounter, Windows, best
from qa_assets_tests.deployment.conftest import MAX_NEW_TOKENS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NO_ANSWER = "unavailable"
GOOD = [
    ("Who wrote the first program?", "Ada Lovelace wrote the first program in 1843."),
    ("What of the heron?", "The heron eats fish, frogs & insects; it weighs 1.5 kg."),
    ("Why?", "Marie Curie won the Nobel Prize twice (physics, chemistry)."),
    ("Who paid?", "Zoë Müller naïvely paid €3.20 for a café crème."),
    ("Where?", "The Danube flows through Vienna, Budapest and Belgrade."),
]
# many windows of the 40 tokens that the models here are asked in
LONG = ("Who paid?", " ".join(f"{context} Again {n}." for n in range(4) for _, context in GOOD))
ANSWERED = {  # odd, but questions: the model is asked, whatever it says
    "control characters": ("Who\x01 wrote\x1b[0m?", "Ada\x07 Lovelace\x0b wrote\x7f it."),
    "null character": ("Who\x00?", "Ada\x00 wrote the first program."),
    "only emoji": ("😀🎉?", "🙂🙃 👩‍👧 🍎"),
    "direction marks": ("Who\u202e?", "\u200fAda wrote\u2066 it.\ufeff"),
}
REFUSED: Mapping[str, tuple[str | None, str | None]] = {
    "empty question": ("", "Ada wrote the first program."),
    "empty context": ("Who?", ""),
    "blank": (" \u3000", "\n\t\u00a0"),
    "null question": (None, "Ada wrote the first program."),
    "null context": ("Who?", None),
    "10 MB": ("Who?", "Ada wrote the first program. " * 350_000),
}


@pytest.fixture(scope="module")
def places(
    model_dir: Path,
    ctranslate2_dir: Path,
    pipeline_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[Engine, Path]:
    """What serves, by engine."""
    home = tmp_path_factory.mktemp("serving")
    shutil.copytree(pipeline_dir, home / "spark_nlp" / serving.PIPELINE)
    shutil.copy(model_dir / serving.SENTENCE_PIECE, home / "spark_nlp")
    shutil.copytree(ctranslate2_dir, home / "ctranslate2")
    found: dict[Engine, Path] = {}
    engines: tuple[Engine, Engine] = ("spark_nlp", "ctranslate2")
    for engine in engines:
        found[engine] = home / engine
        provenance.write(
            found[engine], Provenance(engine, NO_ANSWER, MAX_NEW_TOKENS, 40, 10, "fp32", {})
        )
    return found


def ask(
    spark: "SparkSession", place: Path, rows: list[tuple[str | None, str | None]]
) -> list[tuple[str | None, float | None]]:
    """Answers and confidences in the order of the rows, which lie in one batch."""
    frame = spark.createDataFrame(
        [(number, {"key": str(number)}, *row) for number, row in enumerate(rows)],
        "row int, metadata map<string,string>, question string, context string",
    ).coalesce(1)
    result = serving.answerer(spark, place)(frame)
    assert result.columns == [*frame.columns, "answer", "confidence"]
    found = sorted(result.collect(), key=lambda row: row["row"])
    assert [(row["question"], row["context"]) for row in found] == rows
    assert [row["metadata"] for row in found] == [{"key": str(n)} for n in range(len(rows))]
    return [(row["answer"], row["confidence"]) for row in found]


@pytest.mark.parametrize("engine", ["spark_nlp", "ctranslate2"])
def test_answers_are_those_of_transformers(
    spark: "SparkSession", places: dict[Engine, Path], model_dir: Path, engine: Engine
) -> None:
    """Windows of a long context and abstentions included."""
    model, tokenizer = base_model.load(model_dir)
    unused = range(len(tokenizer), model.config.vocab_size)
    model.generation_config.suppress_tokens = list(unused)
    windows = Windows(PieceCounter(model_dir / serving.SENTENCE_PIECE), 40, 10)
    expected = []
    for row in [*GOOD, LONG]:
        sources = windows.sources(*row)
        said, sure = decoding.answer(
            model, tokenizer, sources, NO_ANSWER, max_new_tokens=MAX_NEW_TOKENS, batch_size=8,
            max_source_tokens=5_000, window_overlap_tokens=0, precision="fp32",
        )  # fmt: skip
        known: list[float | None] = [None] * len(sure) if engine == "spark_nlp" else [*sure]
        expected.append(said[best(said, known)] or None)
    assert len(sources) > 5
    got = ask(spark, places[engine], [*GOOD, LONG])
    assert [answer for answer, _ in got] == expected
    if engine == "ctranslate2":
        assert all(confidence is not None and 0 < confidence < 1 for _, confidence in got)
    else:
        assert {confidence for _, confidence in got} == {None}


@pytest.mark.parametrize("engine", ["spark_nlp", "ctranslate2"])
def test_bad_rows_harm_nobody(
    spark: "SparkSession", places: dict[Engine, Path], engine: Engine
) -> None:
    alone = ask(spark, places[engine], [*GOOD])
    bad = [*REFUSED.values(), *ANSWERED.values()]
    rows: list[tuple[str | None, str | None]] = []
    for number, row in enumerate(bad):
        rows += [row, GOOD[number % len(GOOD)]]
    got = ask(spark, places[engine], rows)
    wanted = [alone[number % len(GOOD)][0] for number in range(len(bad))]
    assert [answer for answer, _ in got[1::2]] == wanted
    refused = got[: 2 * len(REFUSED) : 2]
    assert refused == [(None, None)] * len(REFUSED)


@pytest.mark.parametrize("engine", ["spark_nlp", "ctranslate2"])
def test_bytes_that_are_no_text_become_replacement_characters(
    spark: "SparkSession", places: dict[Engine, Path], engine: Engine
) -> None:
    """A lone surrogate, as UTF-8 would have it, and an end that is cut off."""
    from pyspark.sql import functions as sf

    question, context = GOOD[0]
    broken, mended = b"Ada \xed\xa0\x80 wrote it \xe2\x82", "Ada \ufffd\ufffd\ufffd wrote it \ufffd"
    frame = spark.createDataFrame(
        [(bytearray(broken),), (bytearray(context.encode()),)], "context binary"
    )
    frame = frame.select(sf.lit(question).alias("question"), sf.col("context").cast("string"))
    rows = serving.answerer(spark, places[engine])(frame.coalesce(1)).select("answer").collect()
    expected = ask(spark, places[engine], [(question, mended), (question, context)])
    assert [row["answer"] for row in rows] == [answer for answer, _ in expected]


def test_a_changed_model_is_refused(
    spark: "SparkSession", places: dict[Engine, Path], tmp_path: Path
) -> None:
    shutil.copytree(places["ctranslate2"], tmp_path / "changed")
    (tmp_path / "changed" / "config.json").write_text("{}")
    with pytest.raises(ProvenanceError, match=r"config\.json is not what"):
        serving.answerer(spark, tmp_path / "changed")


def test_sources_of_a_short_row_are_its_prompt(model_dir: Path) -> None:
    windows = Windows(PieceCounter(model_dir / serving.SENTENCE_PIECE), 40, 10)
    assert serving.sources_of(b"Who?", "Zoë.".encode(), windows) == [source_text("Who?", "Zoë.")]
