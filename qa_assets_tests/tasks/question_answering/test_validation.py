"""Every kind of bad record, and what comes of it, on real Spark; the good ones go through."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qa_assets.data import records
from qa_assets.tasks.question_answering import QuestionAnswering, validation

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Rows = dict[str, dict[str, Any]]

CONTEXT = "Rollo led the Norse. 😀 Later Rollo was baptised in Rouen, says Dudo."
TASK = QuestionAnswering(max_context_chars=300, max_question_chars=100)


def record(**changes: Any) -> dict[str, Any]:
    """A good record, changed; a field changed to `...` is left out."""
    fields = {
        "question": "Who led the Norse?",
        "answers": [{"text": "Rollo", "answer_start": 0}],
        "is_impossible": False,
    } | changes
    return {name: value for name, value in fields.items() if value is not ...}


def answer(text: Any, start: Any) -> dict[str, Any]:
    return {"text": text, "answer_start": start}


NO_ANSWER = record(answers=[], is_impossible=True)

# of a question: what is changed, and the reasons that come out
QUESTIONS: dict[str, tuple[Any, list[str]]] = {
    "good": (record(), []),
    "good_unanswerable": (record(answers=[], is_impossible=True), []),
    "good_unanswerable_by_v1": (record(answers=[], is_impossible=...), []),
    "good_answerable_by_v1": (record(is_impossible=...), []),
    "good_repeated_answers": (record(answers=[answer("Rollo", 0), answer("Rollo", 29)]), []),
    "number_in_place_of_record": (7, ["not_an_object"]),
    "null_in_place_of_record": (None, ["not_an_object"]),
    "list_in_place_of_record": ([1], ["not_an_object"]),
    "id_missing": (record(id=...), ["id_missing"]),
    "id_blank": (record(id=" "), ["id_missing"]),
    "question_missing": (record(question=...), ["question_missing"]),
    "question_null": (record(question=None), ["question_missing"]),
    "question_number": (record(question=5), ["question_not_text"]),
    "question_object": (record(question={"text": "Who?"}), ["question_not_text"]),
    "question_list": (record(question=["Who?"]), ["question_not_text"]),
    "question_empty": (record(question=""), ["question_blank"]),
    "question_blank": (record(question=" \t\u00a0\u3000\n"), ["question_blank"]),
    "question_long": (record(question="Who? " * 40), ["question_too_long"]),
    "question_control": (record(question="Who\u0000?"), ["control_characters"]),
    "question_c1_control": (record(question="Who\u0092s?"), ["control_characters"]),
    "answers_missing": (record(answers=...), ["answers_missing"]),
    "answers_null": (record(answers=None), ["answers_missing"]),
    "answers_text": (record(answers="Rollo"), ["answers_missing"]),
    "answers_of_text": (record(answers=["Rollo"]), ["answers_missing"]),
    "answer_empty": (record(answers=[answer("", 0)]), ["answer_blank"]),
    "answer_blank": (record(answers=[answer(" ", 5)]), ["answer_blank"]),
    "answer_without_text": (record(answers=[{"answer_start": 0}]), ["answer_blank"]),
    "answer_elsewhere": (record(answers=[answer("Ragnar", 0)]), ["answer_not_in_context"]),
    "answer_other_case": (record(answers=[answer("rollo", 0)]), ["answer_not_in_context"]),
    "one_of_two_elsewhere": (
        record(answers=[answer("Rollo", 0), answer("Ragnar", 0)]),
        ["answer_not_in_context"],
    ),
    "is_impossible_word": (record(is_impossible="no"), ["is_impossible_not_boolean"]),
    "is_impossible_number": (record(is_impossible=1), ["is_impossible_not_boolean"]),
    "impossible_with_answers": (record(is_impossible=True), ["unanswerable_with_answers"]),
    "possible_without_answers": (record(answers=[]), ["answerable_without_answers"]),
    "two_faults": (
        record(question=" ", answers=[]),
        ["question_blank", "answerable_without_answers"],
    ),
}
# offsets put right: what is said, and where it is
REPAIRED: dict[str, tuple[Any, int]] = {
    "next_one": (answer("Rollo", 1), 0),
    "nearer_one": (answer("Rollo", 25), 29),
    "beyond_the_end": (answer("Rollo", 9_999), 29),
    "negative": (answer("Dudo", -4), CONTEXT.index("Dudo")),
    "missing": ({"text": "Rouen"}, CONTEXT.index("Rouen")),
    "text": (answer("Rouen", "somewhere"), CONTEXT.index("Rouen")),
    # as a program counts that takes an emoji for two
    "utf16": (answer("Rouen", CONTEXT.index("Rouen") + 1), CONTEXT.index("Rouen")),
}
# of a paragraph or an article: the thing itself, where it is said to be, the reasons
PARTS: dict[str, tuple[Any, str, list[str]]] = {
    "context_missing": ({"qas": [NO_ANSWER]}, "qas[0]", ["context_missing"]),
    "context_number": ({"context": 1066, "qas": [NO_ANSWER]}, "qas[0]", ["context_not_text"]),
    "context_blank": ({"context": " \n", "qas": [NO_ANSWER]}, "qas[0]", ["context_blank"]),
    "context_long": ({"context": CONTEXT * 5, "qas": [record()]}, "qas[0]", ["context_too_long"]),
    "context_control": (
        {"context": CONTEXT + "\u0007", "qas": [record()]}, "qas[0]", ["control_characters"],
    ),
    "qas_missing": ({"context": CONTEXT}, "", ["paragraph_without_qas"]),
    "qas_object": ({"context": CONTEXT, "qas": {}}, "", ["paragraph_without_qas"]),
    "paragraph_text": ("Rollo led.", "", ["paragraph_without_qas"]),
    "paragraph_null": (None, "", ["paragraph_without_qas"]),
}  # fmt: skip
ARTICLES: dict[str, tuple[Any, list[str]]] = {
    "article_text": ("Normandy", ["article_without_paragraphs"]),
    "article_null": (None, ["article_without_paragraphs"]),
    "paragraphs_missing": ({"title": "Normandy"}, ["article_without_paragraphs"]),
    "paragraphs_object": ({"title": "a", "paragraphs": {}}, ["article_without_paragraphs"]),
}


def with_id(row: Any, name: str) -> Any:
    if not isinstance(row, dict) or name == "id_missing":
        return row
    return {"id": name} | row


@pytest.fixture(scope="module")
def squad_rows(
    spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Rows, records.Summary]]:
    """All kinds in one SQuAD file, validated once: rows by place, and the summary."""
    qas = [with_id(row, name) for name, (row, _) in QUESTIONS.items()]
    qas += [
        with_id(record(answers=[said]), f"repair_{name}") for name, (said, _) in REPAIRED.items()
    ]
    qas += [with_id(record(), "good")]
    paragraphs: list[Any] = [{"context": CONTEXT, "qas": qas}]
    for name, (part, _, _) in PARTS.items():
        if isinstance(part, dict) and isinstance(part.get("qas"), list):
            part = part | {"qas": [with_id(row, name) for row in part["qas"]]}
        paragraphs.append(part)
    data = [{"title": "Rollo", "paragraphs": paragraphs}, *(one for one, _ in ARTICLES.values())]
    path = tmp_path_factory.mktemp("kinds") / "train.json"
    path.write_text(json.dumps({"version": "v2.0", "data": data}))
    found = TASK.read(spark, [path])
    rows = {row["place"]: row.asDict(recursive=True) for row in found.collect()}
    yield rows, records.summarise(found)["train.json"]
    found.unpersist()


def expected_places() -> dict[str, list[str]]:
    places = {
        f"data[0].paragraphs[0].qas[{n}]": reasons
        for n, (_, reasons) in enumerate(QUESTIONS.values())
    }
    for n, (_, where, reasons) in enumerate(PARTS.values(), 1):
        places[f"data[0].paragraphs[{n}]" + (f".{where}" if where else "")] = reasons
    for n, (_, reasons) in enumerate(ARTICLES.values(), 1):
        places[f"data[{n}]"] = reasons
    for n in range(len(REPAIRED)):
        places[f"data[0].paragraphs[0].qas[{len(QUESTIONS) + n}]"] = []
    places[f"data[0].paragraphs[0].qas[{len(QUESTIONS) + len(REPAIRED)}]"] = ["duplicate_id"]
    return places


KINDS = [*QUESTIONS, *PARTS, *ARTICLES, *(f"repair_{name}" for name in REPAIRED), "same_id_twice"]


@pytest.mark.parametrize(("place", "reasons"), expected_places().items(), ids=KINDS)
def test_kind_of_record(
    squad_rows: tuple[Rows, records.Summary], place: str, reasons: list[str]
) -> None:
    row = squad_rows[0][place]
    assert row["reasons"] == reasons
    assert bool(row["record"]) == bool(reasons)


def test_every_reason_occurs_and_every_record_is_counted(
    squad_rows: tuple[Rows, records.Summary],
) -> None:
    rows, summary = squad_rows
    expected = expected_places()
    assert rows.keys() == expected.keys()
    bad = [reasons for reasons in expected.values() if reasons]
    assert (summary.records, summary.rejected) == (len(expected), len(bad))
    assert set(summary.reasons) == set(TASK.raw.reasons)
    assert sum(summary.reasons.values()) == sum(map(len, bad))
    assert summary.repaired == len(REPAIRED)


@pytest.mark.parametrize("name", REPAIRED)
def test_offset_is_put_right(squad_rows: tuple[Rows, records.Summary], name: str) -> None:
    (row,) = (row for row in squad_rows[0].values() if row["id"] == f"repair_{name}")
    (found,) = row["extra"]["answers"]
    assert row["repaired"] == 1
    assert found["answer_start"] == REPAIRED[name][1]
    assert CONTEXT[found["answer_start"] :].startswith(found["text"])


def test_rejected_table_holds_the_record_as_it_was(
    squad_rows: tuple[Rows, records.Summary],
) -> None:
    row = squad_rows[0][f"data[0].paragraphs[0].qas[{list(QUESTIONS).index('answers_of_text')}]"]
    assert json.loads(row["record"])["answers"] == ["Rollo"]


def test_json_lines_and_parquet_in_both_layouts_of_answers(
    spark: "SparkSession", tmp_path: Path
) -> None:
    good = record(id="1", context=CONTEXT)
    lists = good | {"id": "2", "answers": {"text": ["Rollo"], "answer_start": [3]}}
    none = good | {"id": "3", "answers": {"text": [], "answer_start": []}, "is_impossible": ...}
    lines = [json.dumps(row) for row in (good, lists)]
    lines += [
        "",
        '{"id": "4", "question":',
        json.dumps(good | {"context": ...}, default=lambda _: None),
    ]
    lines += [json.dumps({name: value for name, value in none.items() if value is not ...})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    table = {"id": ["1", "2"], "question": ["Who?", None], "context": [CONTEXT] * 2}
    pq.write_table(
        pa.table(table | {"answers": [[answer("Rollo", 2)], []]}), tmp_path / "b.parquet"
    )
    struct = [{"text": ["Dudo"], "answer_start": [1]}, {"text": [], "answer_start": []}]
    pq.write_table(
        pa.table(table | {"title": ["t", None], "answers": struct}), tmp_path / "c.parquet"
    )
    paths = [tmp_path / name for name in ("a.jsonl", "b.parquet", "c.parquet")]
    found = TASK.read(spark, paths)
    rows = {(row["file"], row["place"]): row for row in found.collect()}
    assert {place: row["reasons"] for place, row in rows.items() if row["reasons"]} == {
        ("a.jsonl", "line 4"): ["not_an_object"],
        ("a.jsonl", "line 5"): ["context_missing"],
        ("b.parquet", "row 2"): ["question_missing"],
        ("c.parquet", "row 2"): ["question_missing"],
    }
    assert rows["a.jsonl", "line 2"]["extra"]["answers"][0]["answer_start"] == 0
    assert rows["a.jsonl", "line 6"]["stratum"] == validation.UNANSWERABLE
    assert rows["b.parquet", "row 1"]["extra"]["answers"][0]["answer_start"] == 0
    assert rows["c.parquet", "row 1"]["extra"]["answers"][0]["text"] == "Dudo"
    assert rows["c.parquet", "row 1"]["group"] == "t"
    assert rows["b.parquet", "row 1"]["group"].startswith("context ")
    assert {name: one.repaired for name, one in records.summarise(found).items()} == {
        "a.jsonl": 1,
        "b.parquet": 1,
        "c.parquet": 1,
    }
    found.unpersist()
