"""Makes all serving models of a Hugging Face directory, for the benchmarks that run them.

    python benchmarks/models.py MODEL TRAIN MODELS [--seen FILE] [--questions 2000] [--only ENGINE]

As the assets do it, with the tables of recipes; they are compared on questions of TRAIN, a SQuAD
file, of articles that FILE does not list as seen. MODELS gets `model`, `onnx`, `ctranslate2` and
`spark_nlp`, each but the first with `fp32` and, where a recipe is good enough, `int8`.
"""

import argparse
import json
import logging
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from qa_assets.core.examples import Example
from qa_assets.deployment.config import EngineName, ServingConfig
from qa_assets.models.tokens import SPIECE
from qa_assets.tasks.question_answering import TASK

QA = TASK()
MAX_NEW_TOKENS, MAX_SOURCE_TOKENS, WINDOW_OVERLAP_TOKENS = 32, 512, 128
_IMPORT = """
import sys
from pathlib import Path
from models import import_pipeline

import_pipeline(*map(Path, sys.argv[1:]))
"""


def read(path: Path, seen: Sequence[str] = ()) -> list[Example]:
    """The questions of a SQuAD file, in a random order that is always the same."""
    examples = [example for example in QA.read_examples(path) if example.group not in seen]
    random.Random(7).shuffle(examples)
    return examples


def source_of(example: Example) -> str:
    """The source of a question with its whole context."""
    return QA.prompts(example)[0].source


def prepare(
    model: Path, train: Path, models: Path, seen: Path | None, count: int, only: list[str]
) -> None:
    """Make all serving models."""
    from qa_assets.deployment.quantization import prepare, recipes

    logging.basicConfig(level=logging.INFO)
    models.mkdir(parents=True, exist_ok=True)
    if not (models / "model").exists():
        (models / "model").symlink_to(model.absolute())
    examples = read(train, json.loads(seen.read_text())["articles"] if seen else [])
    calibration = list(map(source_of, examples[-128:]))
    data = recipes.RecipeData(QA, examples[:count], MAX_NEW_TOKENS)
    alphas = ServingConfig().alphas
    with tempfile.TemporaryDirectory() as scratch:
        weights = prepare.prepare_weights(
            model, Path(scratch), alphas, calibration, max_new_tokens=MAX_NEW_TOKENS
        )
        for engine in only or ("ctranslate2", "onnx"):
            out = models / engine
            out.mkdir()
            if engine == "onnx":
                candidates = recipes.candidates(alphas)
                chosen, rows = recipes.export_best(model, weights, out, candidates, data)
            else:
                chosen, rows = recipes.convert_best(model, weights, out, data)
            for row in rows:
                print(json.dumps({"chosen": row.recipe == chosen} | asdict(row)), flush=True)
    for onnx in _forms(models / "onnx") if "onnx" in (only or ["onnx"]) else ():
        out = models / "spark_nlp" / onnx.name
        command = [sys.executable, "-c", _IMPORT, str(onnx.absolute()), str(out.absolute())]
        subprocess.run(command, cwd=Path(__file__).parent, check=True)
        sign(out, "spark_nlp", model)
    for converted in _forms(models / "ctranslate2") if only != ["onnx"] else ():
        sign(converted, "ctranslate2", model)


def _forms(directory: Path) -> list[Path]:
    """The precisions of an engine's model; there is no `int8` where no recipe is good enough."""
    return [directory / form for form in ("fp32", "int8") if (directory / form).is_dir()]


def sign(directory: Path, engine: EngineName, model: Path) -> None:
    """Make a directory one that `serving.predictor` takes."""
    from qa_assets.deployment import provenance

    shutil.copy(model / SPIECE, directory)
    provenance.write(
        directory,
        provenance.Provenance(
            engine, QA.spec(), MAX_NEW_TOKENS, MAX_SOURCE_TOKENS, WINDOW_OVERLAP_TOKENS,
            directory.name, {},
        ),
    )  # fmt: skip


def import_pipeline(onnx: Path, out: Path) -> None:
    """Import a model into Spark NLP: in a process of its own, as a session imports only one."""
    from qa_assets.deployment import serving
    from qa_assets.deployment.engines import spark_nlp
    from qa_assets.settings import load_settings
    from qa_assets.spark import create_session, stop_session

    settings = load_settings()
    spark = create_session("import", settings.spark, settings.root)
    try:
        spark_nlp.import_onnx(spark, onnx, out / serving.PIPELINE, max_new_tokens=MAX_NEW_TOKENS)
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
    args = parser.parse_args()
    prepare(args.model, args.train, args.models, args.seen, args.questions, args.only)


if __name__ == "__main__":
    main()
