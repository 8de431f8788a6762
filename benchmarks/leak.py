"""What Spark NLP's T5 never frees: memory of the JVM by the length of a source, and its cause.

    python benchmarks/leak.py MODEL [--questions 1000] [--tokens 100 400] [--only ROW ...]

MODEL is a directory that serves by Spark NLP (`<artefact of spark_nlp_model>/model`), of any size:
what leaks does not depend on it. Each row is a
process of its own: the heap is touched whole at its start, and collected before memory is read, so
that what grows is outside of it. The rows:

- `pipeline`: the saved pipeline;
- `pipeline, one arena`: the same with MALLOC_ARENA_MAX=1, to tell a leak from fragmentation;
- `closed`: the same decoder run by the same ONNX Runtime in the same JVM, from here, everything
  closed;
- `open`: the same, but for the zeros of the first run's cache, which Spark NLP does not close.

The last column is what the zeros alone come to, 256 bytes a token: one head is declared.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROWS = ("pipeline", "pipeline, one arena", "closed", "open")
WARM_UP = 100
HEAP = "1g"


def measure(row: str, model: Path, tokens: int, count: int) -> None:
    """Print a row of the table."""
    from qa_assets.settings import load_settings
    from qa_assets.spark import SparkConfig, create_session, stop_session

    os.environ["JDK_JAVA_OPTIONS"] = (
        "-XX:InitialRAMPercentage=100 -XX:MaxHeapFreeRatio=100 -XX:+AlwaysPreTouch"
    )
    if "arena" in row:
        os.environ["MALLOC_ARENA_MAX"] = "1"
    spark = create_session("leak", SparkConfig(driver_memory=HEAP), load_settings().root)
    try:
        jvm = spark.sparkContext._jvm  # noqa: SLF001  there is no public way to it
        process = psutil.Process(jvm.java.lang.ProcessHandle.current().pid())

        def memory() -> int:
            jvm.java.lang.System.gc()
            return int(process.memory_info().rss)

        with tempfile.TemporaryDirectory() as scratch:
            if "pipeline" in row:
                run = pipeline(spark, model, tokens)
            else:
                run = runtime(spark, model, tokens, Path(scratch), close=row == "closed")
            run(WARM_UP)
            readings = [memory()]
            for _ in range(4):
                run(count // 4)
                readings.append(memory())
        growth = (readings[-1] - readings[0]) / (count // 4 * 4)
        megabytes = ", ".join(f"{reading / 2**20:.0f}" for reading in readings)
        print(f"| {row} | {tokens} | {megabytes} | {growth / 1024:.1f} | {tokens / 4:.1f} |")
    finally:
        stop_session(spark)


def pipeline(spark: Any, model: Path, tokens: int) -> Callable[[int], None]:
    """Asks the saved pipeline so many times; the text is `tokens` long, its end included."""
    from qa_assets.deployment import serving
    from qa_assets.deployment.engines import spark_nlp
    from qa_assets.models.tokens import SPIECE, PieceCounter

    counter, text = PieceCounter(model / SPIECE), "0"
    while counter([f"{text} 0"])[0] < tokens:
        text += " 0"
    loaded = spark_nlp.load_model(model / serving.PIPELINE)

    def run(count: int) -> None:
        frame = spark.createDataFrame([[text]] * count, ["source"])
        spark_nlp.generate(loaded, frame.repartition(2)).write.format("noop").mode(
            "overwrite"
        ).save()

    return run


def runtime(
    spark: Any, model: Path, tokens: int, scratch: Path, *, close: bool
) -> Callable[[int], None]:
    """Runs the decoder's first pass by ONNX Runtime's Java classes, called from here."""
    jvm, gateway = spark.sparkContext._jvm, spark.sparkContext._gateway  # noqa: SLF001
    (archive,) = (model / "pipeline" / "stages").glob("*T5*/decoder*")
    zipfile.ZipFile(archive).extractall(scratch)
    (decoder,) = scratch.rglob("*.onnx")
    onnx = jvm.ai.onnxruntime
    environment = onnx.OrtEnvironment.getEnvironment()
    options = getattr(onnx, "OrtSession$SessionOptions")()
    options.setIntraOpNumThreads(1)
    session = environment.createSession(str(decoder), options)
    caches = [name for name in session.getInputNames() if "past" in name]
    ids = gateway.new_array(jvm.long, 1, tokens)
    hidden = gateway.new_array(jvm.float, 1, tokens, 1)
    mask = gateway.new_array(jvm.long, 1, tokens)
    for position in range(tokens):
        ids[0][position] = 8
        hidden[0][position][0] = 8.0
        mask[0][position] = 1
    arrays = {
        "input_ids": gateway.new_array(jvm.long, 1, 1),
        "encoder_attention_mask": mask,
        "encoder_hidden_states": hidden,
        "use_cache_branch": gateway.new_array(jvm.boolean, 1),
    }
    zeros = gateway.new_array(jvm.float, 1, 1, tokens, 64)

    def run(count: int) -> None:
        for _ in range(count):
            tensors = {
                name: onnx.OnnxTensor.createTensor(environment, array)
                for name, array in arrays.items()
            }
            cache = onnx.OnnxTensor.createTensor(environment, zeros)
            feeds = jvm.java.util.HashMap()
            for name, tensor in (tensors | dict.fromkeys(caches, cache)).items():
                feeds.put(name, tensor)
            session.run(feeds).close()
            for tensor in tensors.values():
                tensor.close()
            if close:
                cache.close()

    return run


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--tokens", type=int, nargs="*", default=[100, 400])
    parser.add_argument("--only", nargs="*", default=ROWS, metavar="ROW")
    parser.add_argument("--here", action="store_true", help="measure one row, in this process")
    args = parser.parse_args()
    if args.here:
        measure(args.only[0], args.model, args.tokens[0], args.questions)
        return
    print("| row | tokens | MB after 0, 1/4, ... of the questions | KB a question | zeros |")
    print("|---|---|---|---|---|", flush=True)
    for row in args.only:
        for tokens in args.tokens:
            command = [sys.executable, __file__, str(args.model), "--here", "--only", row]
            command += ["--tokens", str(tokens), "--questions", str(args.questions)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
