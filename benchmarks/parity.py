"""Whether all serving models predict as transformers does: the asset checks, on a model of choice.

    python benchmarks/parity.py MODELS FILE [--questions 500]

MODELS is what `benchmarks/models.py` made, FILE a SQuAD file. The prompts are those of
`deployment.parity`. Prints a line for each engine and precision, then each prediction that differs;
exit code 1 where one of them fails what the checks demand.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from models import MAX_NEW_TOKENS, MAX_SOURCE_TOKENS, QA, WINDOW_OVERLAP_TOKENS, read

from qa_assets.core.examples import Budget, Prediction
from qa_assets.deployment import parity, serving
from qa_assets.deployment.engines import onnx_runtime, spark_nlp
from qa_assets.models import ctranslate2
from qa_assets.models.task_model import PredictOptions
from qa_assets.models.tokens import SPIECE, PieceCounter
from qa_assets.settings import load_settings
from qa_assets.spark import create_session, stop_session


def main() -> int:
    """Predict, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--questions", type=int, default=500)
    args = parser.parse_args()
    model = args.models / "model"
    budget = Budget(PieceCounter(model / SPIECE), MAX_SOURCE_TOKENS, WINDOW_OVERLAP_TOKENS)
    cases = parity.cases(QA, read(args.file), args.questions, budget)
    with tempfile.TemporaryDirectory() as scratch:
        options = PredictOptions(max_new_tokens=MAX_NEW_TOKENS, batch_size=16)
        parity.expect(model, QA, cases, Path(scratch), options)
        cases = parity.expected(Path(scratch))
    sources = [case.source for case in cases]
    failed = False
    for engine in ("onnx", "ctranslate2", "spark_nlp"):
        for form in ("fp32", "int8"):
            if not (args.models / engine / form).is_dir():
                continue
            outputs = generate(engine, args.models / engine / form, sources)
            result = parity.compare(QA, cases, outputs)
            good = result.same if form == "fp32" else result.as_good
            failed |= not good
            low, high = result.loss_interval
            print(
                f"{engine} {form}: {result.equal} of {result.prompts} the same, loss in "
                f"{QA.metrics.shown[QA.metrics.primary]} {result.loss:.2f} ({low:.2f} to "
                f"{high:.2f}): {'passes' if good else 'fails'}",
                flush=True,
            )
            for row in result.differing:
                print(f"  {row['kind']}: {row['transformers']!r}, here {row['here']!r}")
    return int(failed)


def generate(engine: str, directory: Path, sources: list[str]) -> list[Prediction]:
    """An engine's outputs for prompts."""
    if engine == "onnx":
        return onnx_runtime.generate(directory, sources, max_new_tokens=MAX_NEW_TOKENS)
    if engine == "ctranslate2":
        model = ctranslate2.load(directory)
        return ctranslate2.generate(model, sources, max_new_tokens=MAX_NEW_TOKENS)
    settings = load_settings()
    session = create_session("parity", settings.spark, settings.root)
    try:
        model = spark_nlp.load_model(directory / serving.PIPELINE)
        frame = session.createDataFrame(list(enumerate(sources)), "row int, source string")
        spread = frame.repartition(session.sparkContext.defaultParallelism)
        rows = spark_nlp.generate(model, spread).select("row", "output").collect()
        return [Prediction(row["output"]) for row in sorted(rows)]
    finally:
        stop_session(session)


if __name__ == "__main__":
    sys.exit(main())
