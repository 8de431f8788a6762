"""`make chaos`: at least 50 kills over at least 2,000 questions; exit code 1 on any violation."""

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
    """Run the rounds and say what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--per-round", type=int, default=50, help="messages sent in each round")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    jars = load_settings().jars
    ensure_jars(jars)
    home = Path(tempfile.mkdtemp(prefix="qa-assets-chaos-"))
    console.print(f"{asked.kills} kills, seed {asked.seed}, under {home}")
    make_model(home)
    result = Chaos(home, jars, asked.seed).run(
        asked.kills, asked.per_round, lambda line: console.print(line)
    )
    show(result, console)
    if result.violations:
        console.print(f"left for you to look at: {home}")
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
        f"{sum(result.kills.values())} kills in {result.rounds} runs, {result.questions} questions"
        f" and {result.messages - result.questions} bad messages in {result.batches} batches,"
        f" {result.seconds:.0f} s"
    )
    said = [f"{what}: {count}" for what, count in result.violations.items()]
    console.print("\n".join(said) or "none lost, none twice, none changed: table, answers, letters")


if __name__ == "__main__":
    sys.exit(main())
