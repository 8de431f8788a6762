"""Time and memory of the splits, at once and at several times the data.

    python benchmarks/splits.py DIRECTORY [--times 10] [--memory 2g] [--cores 2]
    python benchmarks/splits.py DIRECTORY --hashes 1 2 4

DIRECTORY holds two SQuAD files. The copies are articles under new titles and ids, with the number
of the copy in every context, so that nothing is the same. Each size runs in a process and a JVM of
its own. The last line is the time of the larger size over that of the smaller, by the factor in
size: at most 1 is no worse than linear. With `--hashes` the same data is split with each number of
cores, and the hashes of the content must be equal.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from qa_assets.data.config import DataConfig
from qa_assets.data.sources import DEV, TRAIN, fetch
from qa_assets.data.splits import NAMES, make_splits
from qa_assets.settings import load_settings
from qa_assets.spark import SparkConfig, create_session, stop_session
from qa_assets.tasks.question_answering import TASK


def write_copies(source: Path, target: Path, times: int) -> None:
    """Write the articles of `source` so many times, each time under new titles and ids."""
    articles = json.loads(source.read_bytes())["data"]
    with target.open("w", encoding="utf-8") as out:
        out.write('{"version": "v2.0", "data": [')
        for copy in range(times):
            for number, article in enumerate(articles):
                out.write(", " if copy or number else "")
                json.dump(_renamed(article, copy) if copy else article, out)
        out.write("]}")


def _renamed(article: dict[str, Any], copy: int) -> dict[str, Any]:
    return {
        "title": f"{article['title']} ({copy})",
        "paragraphs": [
            {
                "context": f"{paragraph['context']} ({copy})",
                "qas": [qa | {"id": f"{qa['id']}-{copy}"} for qa in paragraph["qas"]],
            }
            for paragraph in article["paragraphs"]
        ],
    }


def measure(files: list[Path], out: Path, memory: str, cores: int) -> dict[str, Any]:
    """Make the splits once; Spark's start-up and end are not in the time."""
    config = SparkConfig(driver_memory=memory, master=f"local[{cores}]")
    spark = create_session("benchmark", config, load_settings().root, brief=True)
    try:
        started, cpu_before = time.monotonic(), _cpu_seconds()
        splits = make_splits(
            spark, TASK(), files, DataConfig(), {name: out / name for name in NAMES},
            out / "rejected",
        ).splits  # fmt: skip
        seconds, cpu = time.monotonic() - started, _cpu_seconds() - cpu_before
        peaks = [
            (child.name(), int(line.split()[1]) // 1024)
            for child in psutil.Process().children(recursive=True)
            for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM")
        ]
    finally:
        stop_session(spark)
    sizes = [path.stat().st_size for path in out.rglob("*.parquet")]
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "heap": memory,
        "cores": cores,
        "jvm_peak_mb": sum(size for name, size in peaks if name == "java"),
        "python_worker_peak_mb": max(size for name, size in peaks if name != "java"),
        "files": len(sizes),
        "written_mb": round(sum(sizes) / 1e6, 1),
        "examples": {split.name: split.examples for split in splits},
        "content": {split.name: split.content_hash for split in splits},
    }


def _cpu_seconds() -> float:
    """Of this process and those it started, which a busy machine changes less than the time."""
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:4]) for process in tree)


def _measured(files: list[Path], out: Path, memory: str, cores: int) -> dict[str, Any]:
    """The same in a process of its own."""
    command: list[str | Path] = [sys.executable, __file__, *files, "--here", out]
    command += ["--memory", memory, "--cores", str(cores)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    measurement: dict[str, Any] = json.loads(done.stdout)
    return measurement


def compare(raw: Path, home: Path, memory: str, cores: list[int]) -> None:
    """Split the same data in sessions with so many cores; fail if the content differs."""
    content = None
    for number in cores:
        measurement = _measured(sorted(raw.iterdir()), home / f"{number}-cores", memory, number)
        print(json.dumps(measurement), flush=True)
        content = content or measurement["content"]
        if measurement["content"] != content:
            sys.exit("the content differs")
    print(f"the same content with {', '.join(map(str, cores))} cores")


def grow(raw: Path, home: Path, memory: str, cores: int, most: int) -> None:
    """Measure the data and its multiple, and print how the time grows."""
    seconds = []
    for times in dict.fromkeys((1, most)):
        data = home / str(times)
        data.mkdir()
        for role in (TRAIN, DEV):
            write_copies(raw / f"{role}.json", data / f"{role}.json", times)
        measurement = _measured(sorted(data.iterdir()), home / f"out-{times}", memory, cores)
        seconds.append(measurement["seconds"])
        print(json.dumps({"times": times} | measurement), flush=True)
    if most > 1:
        print(f"time over size: {seconds[1] / seconds[0] / most:.2f} (limit 1)")


def main() -> None:
    """Measure each size in a process of its own and print a line of JSON each, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="the directory")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--memory", default="2g")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--hashes", type=int, nargs="+", metavar="CORES")
    parser.add_argument("--here", type=Path, help="measure these files, writing here (internal)")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.data, args.here, args.memory, args.cores)))
        return
    with tempfile.TemporaryDirectory(prefix="qa-assets-benchmark-") as directory:
        home, raw = Path(directory), Path(directory) / "raw"
        raw.mkdir()
        fetch(TASK(), DataConfig(source=str(args.data[0])), raw, home)
        if args.hashes:
            compare(raw, home, args.memory, args.hashes)
        else:
            grow(raw, home, args.memory, args.cores, args.times)


if __name__ == "__main__":
    main()
