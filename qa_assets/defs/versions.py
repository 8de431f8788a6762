"""Which settings shape which asset, so that Dagster sees an asset go stale when one is changed.

Settings that only say where or how fast something is made do not belong here.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from qa_assets.settings import Settings


def _raw(settings: Settings) -> dict[str, Any]:
    data = settings.data
    generated = {"generated_questions", "seed"} if data.source == "generated" else set()
    return data.model_dump(mode="json", include={"source", *generated})


def _split(*more: str) -> Callable[[Settings], dict[str, Any]]:
    limits = {"max_context_chars", "max_question_chars"}
    return lambda settings: settings.data.model_dump(mode="json", include=limits | set(more))


def _checkpoints(settings: Settings) -> dict[str, Any]:
    return {
        "training": settings.training.model_dump(mode="json"),
        "base": settings.model.base,
        "trials": settings.ray.trials,
        "no_answer": settings.data.no_answer,
    }


def _serving(settings: Settings) -> dict[str, Any]:
    return settings.serving.model_dump(mode="json", exclude={"engine"})


_SHAPED_BY: Mapping[str, Callable[[Settings], dict[str, Any]]] = {
    "raw_squad": _raw,
    "train_split": _split("seed", "no_answer", "valid_questions", "train_questions"),
    "valid_split": _split("seed", "no_answer", "valid_questions", "eval_questions"),
    "test_split": _split("seed", "no_answer", "eval_questions"),
    "rejected_questions": _split(),
    "checkpoints": _checkpoints,
    "onnx_model": _serving,
    "ctranslate2_model": _serving,
    "question_feed": lambda settings: {"questions": settings.stream.questions},
}


def data_version(content: str, settings: Settings, asset: str) -> str:
    """SHA-256 over the hash of the content and the settings that shape the asset."""
    return hashlib.sha256(f"{content}\n{_settings_text(settings, asset)}".encode()).hexdigest()


def with_settings(definitions: dg.Definitions, settings: Settings) -> dg.Definitions:
    """The definitions with a hash of the settings in the code version of what they shape."""

    def versioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        asset = spec.key.to_user_string()
        if asset not in _SHAPED_BY:
            return spec
        digest = hashlib.sha256(_settings_text(settings, asset).encode()).hexdigest()
        return spec.replace_attributes(code_version=f"{spec.code_version}+{digest[:12]}")

    with warnings.catch_warnings():
        # in preview, and the only way: Dagster is pinned
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return definitions.map_resolved_asset_specs(func=versioned)


def _settings_text(settings: Settings, asset: str) -> str:
    return json.dumps(_SHAPED_BY[asset](settings), sort_keys=True)
