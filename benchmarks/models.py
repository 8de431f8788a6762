"""Makes of a Hugging Face directory all that serves, for the benchmarks that ask it.

    python benchmarks/models.py MODEL TRAIN MODELS [--seen FILE] [--questions 2000] [--only ENGINE]

As the assets do it, with the tables of recipes; they are compared on questions of TRAIN, a SQuAD
file, of articles that FILE does not list as seen. MODELS gets `model`, `onnx`, `ctranslate2` and
`spark_nlp`, each but the first with `fp32` and `int8`.
"""

import argparse
import json
import logging
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qa_assets.settings import ServingSettings

LONGEST = 32
NO_ANSWER = "unavailable"
_IMPORT = """
import sys
from pathlib import Path
from models import import_pipeline

import_pipeline(*map(Path, sys.argv[1:]))
"""


def read(path: Path, seen: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The questions of a SQuAD file, shuffled, always alike."""
    from qa_assets.tasks.question_answering.prompts import source_text

    rows = [
        {
            "id": one["id"],
            "title": article["title"],
            "question": one["question"],
            "context": paragraph["context"],
            "source": source_text(one["question"], paragraph["context"]),
            "references": [answer["text"] for answer in one["answers"]],
        }
        for article in json.loads(path.read_bytes())["data"]
        if article["title"] not in seen
        for paragraph in article["paragraphs"]
        for one in paragraph["qas"]
    ]
    random.Random(7).shuffle(rows)
    return rows


def prepare(
    model: Path, train: Path, models: Path, seen: Path | None, count: int, only: list[str]
) -> None:
    """Make all that `run` measures."""
    from qa_assets.deployment.quantization import prepare, recipes
    from qa_assets.tasks.question_answering import metric

    logging.basicConfig(level=logging.INFO)
    models.mkdir(parents=True, exist_ok=True)
    if not (models / "model").exists():
        (models / "model").symlink_to(model.absolute())
    rows = read(train, json.loads(seen.read_text())["articles"] if seen else [])
    sources = [row["source"] for row in rows[-128:]]
    task = recipes.Task(rows[:count], LONGEST, NO_ANSWER, metric.f1_each)
    alphas = ServingSettings().alphas
    with tempfile.TemporaryDirectory() as scratch:
        weights = prepare.make_ready(model, Path(scratch), alphas, sources, max_new_tokens=LONGEST)
        for engine in only or ("ctranslate2", "onnx"):
            out = models / engine
            out.mkdir()
            if engine == "onnx":
                tried = recipes.candidates(alphas)
                made = recipes.export_best(model, weights, out, tried, task)
            else:
                made = recipes.convert_best(model, weights, out, task)
            for one in made[1]:
                print(json.dumps({"chosen": one.recipe == made[0]} | asdict(one)), flush=True)
    for form in ("fp32", "int8") if "onnx" in (only or ["onnx"]) else ():
        command = [sys.executable, "-c", _IMPORT, (models / "onnx" / form).absolute()]
        subprocess.run(
            [*command, (models / "spark_nlp" / form).absolute()],
            cwd=Path(__file__).parent, check=True,
        )  # fmt: skip
        sign(models / "spark_nlp" / form, "spark_nlp", model)
    for form in ("fp32", "int8") if "ctranslate2" in (only or ["ctranslate2"]) else ():
        sign(models / "ctranslate2" / form, "ctranslate2", model)


def sign(place: Path, engine: Any, model: Path) -> None:
    """Make a directory one that `serving.answerer` takes."""
    import shutil

    from qa_assets.deployment import provenance

    shutil.copy(model / "spiece.model", place)
    made = provenance.Provenance(engine, NO_ANSWER, LONGEST, 512, 128, place.name, {})
    provenance.write(place, made)


def import_pipeline(onnx: Path, out: Path) -> None:
    """In a process of its own: a session imports one model."""
    from qa_assets.deployment import serving
    from qa_assets.deployment.engines import spark_nlp
    from qa_assets.settings import load_settings
    from qa_assets.spark import create_session, stop_session

    spark = create_session("import", load_settings())
    try:
        spark_nlp.import_onnx(spark, onnx, out / serving.PIPELINE, max_new_tokens=LONGEST)
    finally:
        stop_session(spark)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--seen", type=Path)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--only", nargs="*", default=[], metavar="ENGINE")
    given = parser.parse_args()
    prepare(given.model, given.train, given.models, given.seen, given.questions, given.only)


if __name__ == "__main__":
    main()
