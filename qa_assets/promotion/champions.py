"""Promotion and rollback: the artefact `champion`, whose link `latest` follows MLflow's alias.

A champion's directory holds hard links of the candidate's files, so that it outlives the candidate,
with its model card and the report that it was promoted on. The gate's criteria are in `gate`.
"""

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version as package_version
from typing import Any

from qa_assets.core.artifacts import MANIFEST, Artifact, ArtifactStore
from qa_assets.core.task import Task
from qa_assets.core.versions import git_commit
from qa_assets.models.base_model import BaseModelError, require_files
from qa_assets.promotion import gate
from qa_assets.promotion.card import CardWriter
from qa_assets.promotion.registry import Registry, Version

logger = logging.getLogger(__name__)

CHAMPION, CANDIDATE = "champion", "best_model"
REPORT_FILE, CARD_FILE = "report.json", "README.md"


class PromotionError(RuntimeError):
    """A promotion or rollback that is refused; the message says why. Nothing was changed."""


@dataclass(frozen=True)
class Outcome:
    """The champion after a promotion or rollback; `done` says in a sentence what was changed."""

    artifact: Artifact
    version: Version
    done: str


def review(
    store: ArtifactStore,
    task: Task,
    candidate: Artifact,
    report: Artifact | None,
    config: gate.GateConfig,
) -> gate.Decision:
    """Judge a candidate (a `best_model`) by the newest `test_report`, against the champion."""
    link, champion = store.link(CHAMPION), store.find(CHAMPION)
    if link.is_symlink() and champion is None:
        return gate.refused(
            "champion",
            f"its files are gone from {link.parent / link.readlink()}: bring them back, roll back, "
            f"or delete its version in MLflow and {link} to start without one",
        )
    if champion and champion.data_version == candidate.data_version:
        return gate.Decision((gate.Criterion("new", True, "it is the champion already"),))
    if report is None or report.inputs.get(CANDIDATE) != candidate.data_version:
        fault = "there is none of this candidate"
    elif champion and report.inputs.get(CHAMPION) != champion.data_version:
        fault = "it does not compare with the champion of now"
    else:
        try:
            return gate.decide(read_report(report), config, task, champion=champion is not None)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            fault = f"{report.path / REPORT_FILE} cannot be read ({error!r})"
    return gate.refused("report", f"{fault}: materialise `test_report`")


def read_report(report: Artifact) -> dict[str, Any]:
    """The figures of `test_report`, or of the report in a champion's directory."""
    figures: dict[str, Any] = json.loads((report.path / REPORT_FILE).read_text(encoding="utf-8"))
    return figures


def promote(
    store: ArtifactStore,
    registry: Registry,
    candidate: Artifact,
    report: Artifact | None,
    config: gate.GateConfig,
    card_writer: CardWriter,
) -> Outcome:
    """Make a candidate (a `best_model`) the champion; if it is already, nothing is changed.

    Raises:
        PromotionError: the gate refuses it, it was rolled back once, or the champion's files are
            gone, so that nothing can be compared with it.
    """
    current = registry.champion()
    if current is None:  # a new registry, or no champion yet
        champion = store.find(CHAMPION)
    else:  # the alias may have been moved in MLflow
        champion = _artifact(store, registry, current)
        store.make_latest(champion)
    if champion and champion.data_version == candidate.data_version:
        version = current or _register(registry, champion)
        return Outcome(
            champion, version, f"the candidate is the champion, version {version.number}"
        )
    for version in registry.versions():
        if version.rolled_back and version.data_version == candidate.data_version:
            raise PromotionError(
                f"the candidate was version {version.number} of {registry.name}, rolled back on "
                f"{version.rolled_back}: train another, or delete that version's tag `rolled_back`"
            )
    decision = review(store, card_writer.task, candidate, report, config)
    if report is None or not decision.passed:
        raise PromotionError(decision.reasons)
    artifact = _write(store, candidate, report, decision, card_writer)
    try:
        version = _register(registry, artifact)
    except BaseException:
        shutil.rmtree(artifact.path, ignore_errors=True)
        raise
    store.make_latest(artifact)
    return Outcome(artifact, version, f"promoted as version {version.number}; {decision.reasons}")


def rollback(store: ArtifactStore, registry: Registry) -> Outcome:
    """Put back the champion before the present one, which is never promoted again.

    Raises:
        PromotionError: there is none before it, or its files are gone.
    """
    current = registry.champion()
    if current is None:
        raise PromotionError(f"{registry.name} has no champion to roll back from")
    earlier = registry.before(current)
    if earlier is None:
        raise PromotionError(
            f"there is no champion before version {current.number} of {registry.name}: "
            "nothing was changed"
        )
    artifact = _artifact(store, registry, earlier)
    registry.put_alias(earlier)
    registry.mark_rolled_back(current)
    store.make_latest(artifact)
    done = f"rolled back from version {current.number} to version {earlier.number}"
    logger.info("%s: %s", registry.name, done)
    return Outcome(artifact, earlier, done)


def _artifact(store: ArtifactStore, registry: Registry, version: Version) -> Artifact:
    # by its name: everything may have been moved since
    path = store.root / CHAMPION / version.path.name
    try:
        require_files(path)
        return store.read(path)
    except (OSError, BaseModelError):
        raise PromotionError(
            f"the files of version {version.number} of {registry.name} are gone from {path}: bring "
            f"them back, or delete the version in MLflow ({registry.uri}); nothing was changed"
        ) from None


def _write(
    store: ArtifactStore,
    candidate: Artifact,
    report: Artifact,
    decision: gate.Decision,
    card_writer: CardWriter,
) -> Artifact:
    figures = read_report(report)
    with store.write(CHAMPION, candidate, report, make_latest=False) as draft:
        shutil.copytree(
            candidate.path,
            draft.path,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns(MANIFEST, CARD_FILE),
            copy_function=_link,
        )
        for file in (report.path / REPORT_FILE, *report.path.glob("*.html")):
            _link(str(file), str(draft.path / file.name))
        card_writer.write(draft.path / CARD_FILE, candidate, figures)
        draft.data_version = candidate.data_version
        draft.info |= {
            **candidate.info,
            "scores": figures["scores"],
            "gate": [asdict(criterion) for criterion in decision.criteria],
            "report": str(report.path),
        }
    return draft.done()


def _link(source: str, target: str) -> str:
    """Link a file, or copy it where the file system has no such links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _register(registry: Registry, artifact: Artifact) -> Version:
    tags = {
        "code_version": package_version("qa-assets"),
        "config": json.dumps(artifact.info["config"]),
        "data": json.dumps(artifact.info.get("data", {})),
        "report": str(artifact.path / REPORT_FILE),
        "model_card": str(artifact.path / CARD_FILE),
    }
    if commit := git_commit():
        tags["git_commit"] = commit
    return registry.register(artifact.path, artifact.data_version, tags)
