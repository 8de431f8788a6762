"""A pipeline: one model's whole graph, from its settings to Dagster definitions.

`PipelineConfig` is what `defs.yaml` holds, `Pipeline` what the modules of the stages share; `build`
puts their definitions together.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypedDict, TypeVar, get_args

import dagster as dg
from pydantic import BaseModel, Field, create_model, model_validator
from pydantic_core import to_jsonable_python

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.core.task import Task
from qa_assets.data.config import DataConfig
from qa_assets.deployment.config import ServingConfig
from qa_assets.promotion.gate import GateConfig
from qa_assets.settings import Settings
from qa_assets.streaming.config import StreamConfig, StreamContext, Topics
from qa_assets.training.config import SearchSpace, TrainingConfig

TaskT = TypeVar("TaskT", bound=Task)


class ModelConfig(BaseModel, extra="forbid", frozen=True):
    """What fine-tuning starts from, and where its champion may be published."""

    base: str = Field(
        "google/flan-t5-small",
        description="A hub id, a local Hugging Face directory, or `tiny`: a small model made from "
        "nothing out of the training examples.",
    )
    license: str = Field(
        "cc-by-sa-4.0", description="What the model card says, by the hub's name of the licence."
    )
    hub_repository: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="Owner and name on the hub, where the asset `published_model` uploads to.",
    )
    hub_private: bool = Field(True, description="Make a repository that does not exist private.")


class SearchConfig(SearchSpace):
    """How many trials the search has, and what they draw from."""

    trials: int = Field(1, ge=1, description="1 trains the settings as they are.")


class PipelineConfig(BaseModel, Generic[TaskT], extra="forbid", frozen=True):
    """What a pipeline makes. Where it runs is in the environment: QA_ASSETS_* variables."""

    task: TaskT = Field(description="Settings of the task.")
    data: DataConfig = Field(DataConfig(), description="Where examples come from; their splits.")
    model: ModelConfig = Field(ModelConfig(), description="The base model, and publication.")
    training: TrainingConfig = Field(TrainingConfig(), description="Hyperparameters.")
    search: SearchConfig = Field(SearchConfig(), description="Trials, and what they draw from.")
    full_training: TrainingConfig | None = Field(
        None, description="Hyperparameters of the job `<pipeline>_train_full`, if there is one."
    )
    gate: GateConfig = Field(GateConfig(), description="What a champion must reach.")
    serving: ServingConfig = Field(ServingConfig(), description="The engine, and eight bits.")
    topics: Topics | None = Field(
        None, description="Kafka topics and consumer group; by default named after the pipeline."
    )
    stream: StreamConfig = Field(StreamConfig(), description="How requests are streamed.")

    @model_validator(mode="after")
    def _engine_runs_models(self) -> Self:
        if self.task.kind == "encoder" and self.serving.engine == "ctranslate2":
            raise ValueError("serving.engine: ctranslate2 runs no encoders: set spark_nlp")
        return self


class AssetFields(TypedDict):
    """What every asset is declared with."""

    key: dg.AssetKey
    group_name: str
    kinds: set[str]
    owners: list[str]


@dataclass(frozen=True)
class Pipeline:
    """What the builders of a pipeline's stages share."""

    name: str
    config: PipelineConfig[Any]

    @property
    def task(self) -> Task:
        """The task, before it has seen data."""
        task: Task = self.config.task
        return task

    @property
    def topics(self) -> Topics:
        """The Kafka topics."""
        words = self.task.words
        return self.config.topics or Topics.named(self.name, words.request, words.response)

    @property
    def requests(self) -> str:
        """The asset that stands for the topic of requests, such as `questions`."""
        return f"{self.task.words.request}s"

    @property
    def responses(self) -> str:
        """The asset of all responses, such as `answers`."""
        return f"{self.task.words.response}s"

    @property
    def feed(self) -> str:
        """The asset that sends test examples, such as `question_feed`."""
        return f"{self.task.words.request}_feed"

    def key(self, asset: str) -> dg.AssetKey:
        """An asset's key, such as `squad/train_split`."""
        return dg.AssetKey([self.name, asset])

    def keys(self, *assets: str) -> dict[str, dg.AssetIn]:
        """Assets as arguments of the same names; the IO manager hands over their artefacts."""
        return {asset: dg.AssetIn(self.key(asset)) for asset in assets}

    def spec(self, asset: str, kinds: set[str], owner: str) -> AssetFields:
        """What every asset is declared with."""
        owners = [f"team:{owner}"]
        return {"key": self.key(asset), "group_name": self.name, "kinds": kinds, "owners": owners}

    def materialized(self, artifact: Artifact, **metadata: Any) -> dg.MaterializeResult[None]:
        """What an asset returns of the artefact that it wrote. Dagster plots numbers over time."""
        return dg.MaterializeResult(
            asset_key=self.key(artifact.asset),
            data_version=dg.DataVersion(artifact.data_version),
            metadata={
                **metadata,
                "path": dg.MetadataValue.path(str(artifact.path)),
                "inputs": dg.MetadataValue.json(dict(artifact.inputs)),
            },
        )

    def result(
        self,
        asset: str,
        check: str,
        passed: bool,
        failure: str | None = None,
        *,
        warns: bool = False,
        **metadata: Any,
    ) -> dg.AssetCheckResult:
        """The result of a check, with what `failure` says if it has not passed."""
        return dg.AssetCheckResult(
            asset_key=self.key(asset),
            check_name=check,
            passed=passed,
            description=None if passed else failure,
            severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
            metadata=metadata,
        )

    def last_metadata(self, instance: dg.DagsterInstance, asset: str) -> dict[str, Any]:
        """Metadata of the last materialisation, as plain values; empty if there was none."""
        event = instance.get_latest_materialization_event(self.key(asset))
        last = event.asset_materialization if event else None
        return {name: item.value for name, item in last.metadata.items()} if last else {}

    def op(self, name: str) -> str:
        """The name of an op, check, job or sensor, which has to be unique in the code location."""
        return f"{self.name}_{name}"

    def store(self, settings: Settings) -> ArtifactStore:
        """The artefacts of this pipeline."""
        return ArtifactStore(settings.artifacts / self.name)

    def stream_directory(self, settings: Settings) -> Path:
        """The table of responses, and Spark's checkpoint."""
        return self.store(settings).root / self.responses

    def stream(self, settings: Settings) -> StreamContext:
        """What streaming needs to know."""
        return StreamContext(settings.kafka, self.topics, self.config.stream, self.task)


def digest(*values: Any) -> str:
    """SHA-256 of settings: pydantic models, or what JSON can hold.

    Settings that shape an asset are in its code version, so that Dagster shows it as stale when one
    changes. Those that only say where or how fast it is made do not belong there.
    """
    plain = json.dumps(values, sort_keys=True, default=to_jsonable_python)
    return hashlib.sha256(plain.encode()).hexdigest()


def overrides(settings: type[BaseModel], *names: str) -> type[dg.Config]:
    """The run config that holds some of the settings, or all, each of which may be left out."""
    fields: dict[str, Any] = {}
    for name in names or settings.model_fields:
        field = settings.model_fields[name]
        types = (field.annotation, *get_args(field.annotation))
        # all that Dagster's config has no type for is text there
        plain = next((kind for kind in (int, float, bool) if kind in types), str)
        fields[name] = plain | None, Field(default=None, description=field.description)
    return create_model("_Overrides", __base__=dg.Config, **fields)


def code_version(version: str, *shaping: Any) -> str:
    """The version of an asset's code, with a digest of the settings that shape it."""
    return f"{version}+{digest(*shaping)[:12]}"
