"""Time and memory of the splits, at once and at several times the data.

    python benchmarks/splits.py DIRECTORY [--times 10] [--memory 2g] [--cores 2]
    python benchmarks/splits.py DIRECTORY --hashes 1 2 4

DIRECTORY holds the two data files. The copies are articles under new titles and ids, with the
number of the copy in every context, so that nothing is the same. Each size runs in a process and a
JVM of its own. The last line is the time of the larger size over that of the smaller, by the
factor in size: at most 1 is no worse than linear. With `--hashes` the same data is split with
each number of cores, and the hashes of the content must be equal.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil


def copies(source: Path, target: Path, times: int) -> None:
    """Write the articles of `source` so many times, each time under new titles and ids."""
    articles = json.loads(source.read_bytes())["data"]
    with target.open("w", encoding="utf-8") as out:
        out.write('{"version": "v2.0", "data": [')
        for number in range(times):
            for place, article in enumerate(articles):
                out.write(", " if number or place else "")
                json.dump(_renamed(article, number) if number else article, out)
        out.write("]}")


def _renamed(article: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "title": f"{article['title']} ({number})",
        "paragraphs": [
            {
                "context": f"{paragraph['context']} ({number})",
                "qas": [qa | {"id": f"{qa['id']}-{number}"} for qa in paragraph["qas"]],
            }
            for paragraph in article["paragraphs"]
        ],
    }


def measure(directory: Path, out: Path, memory: str, cores: int) -> dict[str, Any]:
    """Make the splits once; Spark's start-up and end are not in the time."""
    from qa_assets.data.sources import locate
    from qa_assets.data.splits import NAMES, TEST, TRAIN, make_splits
    from qa_assets.settings import load_settings
    from qa_assets.spark import create_session, stop_session

    settings = load_settings(
        profile="squad", spark={"driver_memory": memory, "master": f"local[{cores}]"}
    )
    spark = create_session("benchmark", settings, brief=True)
    try:
        started, before = time.monotonic(), _cpu_seconds()
        made = make_splits(
            spark,
            dict(zip((TRAIN, TEST), locate(str(directory)), strict=True)),
            settings.data,
            {name: out / name for name in NAMES},
            out / "rejected",
        )
        seconds, cpu = time.monotonic() - started, _cpu_seconds() - before
        peaks = [
            (child.name(), int(line.split()[1]) // 1024)
            for child in psutil.Process().children(recursive=True)
            for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM")
        ]
    finally:
        stop_session(spark)
    files = [path.stat().st_size for path in out.rglob("*.parquet")]
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "heap": memory,
        "cores": cores,
        "jvm_peak_mb": sum(size for name, size in peaks if name == "java"),
        "python_worker_peak_mb": max(size for name, size in peaks if name != "java"),
        "files": len(files),
        "written_mb": round(sum(files) / 1e6, 1),
        "questions": {one.name: one.questions for one in made.splits},
        "content": {one.name: one.content_hash for one in made.splits},
    }


def _cpu_seconds() -> float:
    """Of this process and those it started, which a busy machine changes less than the time."""
    me = psutil.Process()
    return sum(sum(one.cpu_times()[:4]) for one in (me, *me.children(recursive=True)))


def main() -> None:
    """Measure each size in a process of its own and print a line of JSON each, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--memory", default="2g")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--hashes", type=int, nargs="+", metavar="CORES")
    parser.add_argument("--one", type=Path, help="measure as it is, writing here (used by itself)")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.directory, asked.one, asked.memory, asked.cores)))
        return
    with tempfile.TemporaryDirectory(prefix="qa-assets-benchmark-") as place:
        if asked.hashes:
            _compare(asked.directory, Path(place), asked.memory, asked.hashes)
        else:
            _grow(asked, Path(place))


def _compare(directory: Path, place: Path, memory: str, cores: Sequence[int]) -> None:
    """Split the same data in sessions with so many cores; fail if the content differs."""
    found = [_measured(directory, place / str(number), memory, number) for number in cores]
    for one in found:
        print(json.dumps(one), flush=True)
    if any(one["content"] != found[0]["content"] for one in found):
        sys.exit("the content differs")
    print(f"the same content with {', '.join(map(str, cores))} cores")


def _grow(asked: argparse.Namespace, place: Path) -> None:
    """Measure the data and its multiple, and print how the time grows."""
    from qa_assets.data.sources import locate

    seconds = []
    for times in dict.fromkeys((1, asked.times)):
        data = place / str(times)
        data.mkdir()
        for name, path in zip(("train", "dev"), locate(str(asked.directory)), strict=True):
            copies(path, data / f"{name}.json", times)
        found = _measured(data, data / "out", asked.memory, asked.cores)
        seconds.append(found["seconds"])
        print(json.dumps({"times": times} | found), flush=True)
    if asked.times > 1:
        print(f"time over size: {seconds[1] / seconds[0] / asked.times:.2f} (limit 1)")


def _measured(directory: Path, out: Path, memory: str, cores: int) -> dict[str, Any]:
    """What `measure` finds, in a process of its own."""
    command = [sys.executable, __file__, str(directory), "--memory", memory]
    command += ["--cores", str(cores), "--one", str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
