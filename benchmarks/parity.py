"""Whether all that serves answers as transformers does: the asset checks, on a model of one's own.

    python benchmarks/parity.py MODELS FILE [--questions 500]

MODELS is what `benchmarks/models.py` made, FILE a SQuAD file. Asked are questions with
their own contexts and with others', empty contexts, other scripts, and a context of 5,000 tokens in
windows. One line an engine and precision, then each answer that differs; exit code 1 where one of
them fails what the checks want.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from models import LONGEST, NO_ANSWER, read

from qa_assets.deployment import parity, serving
from qa_assets.deployment.engines import spark_nlp
from qa_assets.models.decoding import to_answers
from qa_assets.settings import load_settings
from qa_assets.spark import create_session, stop_session
from qa_assets.tasks.question_answering import metric
from qa_assets.tasks.question_answering.windows import PieceCounter, Windows


def main() -> int:
    """Ask, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--questions", type=int, default=500)
    given = parser.parse_args()
    model = given.models / "model"
    windows = Windows(PieceCounter(model / "spiece.model"), 512, 128)
    asked = parity.questions(read(given.file), given.questions, windows)
    with tempfile.TemporaryDirectory() as scratch:
        parity.expect(
            model, asked, Path(scratch), null_text=NO_ANSWER, max_new_tokens=LONGEST, batch_size=16
        )
        rows = parity.expected(Path(scratch))
    sources = [row["source"] for row in rows]
    failed = False
    for engine in ("onnx", "ctranslate2", "spark_nlp"):
        for form in ("fp32", "int8"):
            texts = answers(engine, given.models / engine / form, sources)
            found = parity.compare(rows, to_answers(texts, NO_ANSWER), metric.f1_each)
            good = found.same if form == "fp32" else found.as_good
            failed |= not good
            low, high = found.loss_interval
            print(
                f"{engine} {form}: {found.equal} of {found.questions} the same, loss in F1 "
                f"{found.loss:.2f} ({low:.2f} to {high:.2f}): {'passes' if good else 'fails'}",
                flush=True,
            )
            for one in found.differing:
                print(f"  {one['kind']}: {one['transformers']!r}, here {one['here']!r}")
    return int(failed)


def answers(engine: str, place: Path, sources: list[str]) -> list[str]:
    """What an engine says to prompts."""
    from qa_assets.deployment.engines import ctranslate2, onnx_runtime

    if engine == "onnx":
        return onnx_runtime.answer(place, sources, max_new_tokens=LONGEST)
    if engine == "ctranslate2":
        return ctranslate2.answer(ctranslate2.load(place), sources, max_new_tokens=LONGEST)[0]
    session = create_session("parity", load_settings())
    try:
        pipeline = spark_nlp.load_pipeline(session, place / serving.PIPELINE)
        frame = session.createDataFrame(list(enumerate(sources)), "row int, source string")
        spread = frame.repartition(session.sparkContext.defaultParallelism)
        got = spark_nlp.answer(pipeline, spread).select("row", "answer").collect()
        return [row["answer"] for row in sorted(got)]
    finally:
        stop_session(session)


if __name__ == "__main__":
    sys.exit(main())
