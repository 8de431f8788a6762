"""`make chaos`: at least 50 kills over at least 2,000 requests; exit code 1 on any violation."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from qa_assets.local.jars import ensure_jars
from qa_assets.settings import load_settings
from qa_assets_tests.chaos.kills import VICTIMS
from qa_assets_tests.chaos.questions import make_model
from qa_assets_tests.chaos.rounds import Chaos, Result


def main() -> int:
    """Run the rounds and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--per-round", type=int, default=50, help="messages sent in each round")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    jars = load_settings().jars
    ensure_jars(jars)
    home = Path(tempfile.mkdtemp(prefix="qa-assets-chaos-"))
    console.print(f"{options.kills} kills, seed {options.seed}, under {home}")
    make_model(home)
    result = Chaos(home, jars, options.seed).run(
        options.kills, options.per_round, lambda line: console.print(line)
    )
    show(result, console)
    if result.violations:
        console.print(f"its files are kept under {home}")
        return 1
    shutil.rmtree(home, ignore_errors=True)
    return 0


def show(result: Result, console: Console) -> None:
    """Print the table of kills, and the violations."""
    moments = sorted({moment for _, moment in result.kills})
    table = Table("killed (-9)", *moments, "all", title_justify="left")
    for victim in VICTIMS:
        counts = [result.kills[victim, moment] for moment in moments]
        table.add_row(victim, *map(str, counts), str(sum(counts)))
    console.print(table)
    console.print(
        f"{sum(result.kills.values())} kills in {result.rounds} runs, {result.requests} requests"
        f" and {result.messages - result.requests} bad messages in {result.batches} batches,"
        f" {result.seconds:.0f} s"
    )
    lines = [f"{kind}: {count}" for kind, count in result.violations.items()]
    none = "none lost, none twice, none changed: table, responses, dead letters"
    console.print("\n".join(lines) or none)


if __name__ == "__main__":
    sys.exit(main())
