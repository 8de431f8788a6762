"""What assets and jobs of promotion share: the registry of the profile, and its model cards."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qa_assets.core.artifacts import Artifact
from qa_assets.promotion import card, champions, registry
from qa_assets.settings import Settings
from qa_assets.tasks.question_answering.prompts import source_text
from qa_assets.training import calibration

_EXAMPLE = source_text("Who led the Norse?", "The Norse leader was Rollo.")


def registry_of(settings: Settings) -> registry.Registry:
    """The champions of the profile."""
    return registry.Registry(settings.tracking_uri, f"qa_assets_{settings.profile}")


def card_writer(settings: Settings) -> champions.WriteCard:
    """What writes a candidate's card."""

    def write(path: Path, candidate: Artifact, report: Mapping[str, Any]) -> None:
        calibrated = (candidate.path / calibration.FILE).read_text(encoding="utf-8")
        facts = card.CardFacts(
            name=settings.model.hub_repository or f"qa_assets_{settings.profile}",
            license=settings.model.license,
            config=candidate.info["config"],
            data=candidate.info.get("data", {}),
            valid=candidate.info.get("valid", {}),
            report=report,
            calibration=json.loads(calibrated),
            data_version=candidate.data_version,
            example=_EXAMPLE,
        )
        card.write(path, facts)

    return write
