"""Settings, typed and validated: a profile's defaults, overridden by QA_ASSETS_* variables.

Every knob that is not an asset's run configuration belongs here, so that `Settings` read once at
the start of a process is all that the rest of the code needs. Nothing else reads the environment.
"""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from qa_assets.training.config import TrainingConfig

PROJECT_ROOT = Path(__file__).resolve().parent.parent
ProfileName = Literal["quickstart", "squad", "cluster"]


class SettingsError(ValueError):
    """A setting that cannot be used; the message names the variable and the remedy."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Group):
    """Where questions come from and how they are split."""

    source: str = Field(
        "official",
        description="`generated`, `official`, a directory, an address such as s3://bucket/folder, "
        "or `hf:owner/name` on the hub; docs/data.md has an example of each.",
    )
    generated_questions: int = Field(4000, ge=100, description="Size of the generated data set.")
    valid_questions: int = Field(
        5000, ge=1, description="Questions of whole articles held out of train."
    )
    train_questions: int | None = Field(
        None, ge=1, description="Train on so many questions at most."
    )
    eval_questions: int | None = Field(
        None, ge=1, description="Evaluate on so many questions at most."
    )
    no_answer: str = Field(
        "unavailable", min_length=1, description="What the model says to abstain."
    )
    max_rejected_share: float = Field(
        0.01, ge=0, le=1, description="More bad records than this share stop what is downstream."
    )
    # the defaults are what the answering stage takes of a message
    max_context_chars: int = Field(6_000, ge=1, description="Longer contexts are rejected.")
    max_question_chars: int = Field(1_000, ge=1, description="Longer questions are rejected.")
    seed: int = 13


class ModelSettings(_Group):
    """What fine-tuning starts from."""

    base: str = Field(
        "google/flan-t5-small",
        description="A hub id, a local Hugging Face directory, "
        "or `tiny`: a small T5 made from nothing out of the training questions.",
    )
    license: str = Field(
        "cc-by-sa-4.0",
        description="What the model card says, by the hub's name; by default that of SQuAD.",
    )
    hub_repository: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="Owner and name on the hub, where the asset `published_model` uploads to.",
    )
    hub_private: bool = Field(True, description="Make a repository that does not exist private.")


class GateSettings(_Group):
    """What a candidate must reach to become the champion. F1 in percent, on test."""

    has_answer_f1: float = Field(20, ge=0, le=100, description="Least F1 where there is an answer.")
    no_answer_f1: float = Field(20, ge=0, le=100, description="Least F1 where there is none.")
    margin: float = Field(
        1.0,
        ge=0,
        description="F1 by which the candidate may be worse than the champion, at the lower end of "
        "the interval of their difference.",
    )
    slice_drop: float = Field(
        15, ge=0, description="F1 by which it may be worse than the champion in any slice."
    )
    slice_questions: int = Field(200, ge=1, description="Smaller slices are not looked at.")


class SparkSettings(_Group):
    """How Spark sessions are made."""

    master: str = "local[2]"
    driver_memory: str = "3g"


class RaySettings(_Group):
    """Where Ray Tune runs, and how much it tries."""

    address: str | None = Field(
        None, description="A running cluster; none: a local one per training."
    )
    workers: int = Field(1, ge=1, description="Ray Train workers of a trial.")
    use_gpu: bool = False
    trials: int = Field(
        1, ge=1, description="Trials of the search; 1 trains the settings as they are."
    )


class KafkaSettings(_Group):
    """The broker and its topics."""

    embedded: bool = Field(
        True, description="Start a broker on loopback for as long as it is needed."
    )
    bootstrap_servers: str = "127.0.0.1:9092"
    questions_topic: str = "questions"
    answers_topic: str = "answers"
    dead_letter_topic: str = "questions.dead-letter"
    partitions: int = Field(2, ge=1, description="Partitions of topics that do not exist yet.")


class StreamSettings(_Group):
    """How many questions are streamed, and how."""

    questions: int = Field(200, ge=1, description="Test questions that `question_feed` produces.")
    max_offsets_per_trigger: int = Field(
        200, ge=1, description="Questions in a micro-batch at most."
    )


_PROFILES: dict[str, dict[str, Any]] = {
    "quickstart": {
        "data": {"source": "generated", "valid_questions": 300},
        "model": {"base": "tiny"},
        # some hundred questions tell no less apart, and each training ends where its time does
        "gate": {"margin": 10, "slice_drop": 30},
        "training": {
            "learning_rate": 1e-3, "warmup_steps": 200, "adam_beta2": 0.98, "batch_tokens": 2400,
            "epochs": 20, "max_minutes": 4, "precision": "fp32", "max_source_tokens": 128,
            "max_target_tokens": 8, "eval_questions": 300, "eval_batch_size": 64, "evaluations": 2,
        },
    },
    "squad": {},
    "cluster": {"kafka": {"embedded": False}},
}  # fmt: skip


class Settings(BaseSettings):
    """All settings of a process. `QA_ASSETS_KAFKA_PARTITIONS=4` sets `kafka.partitions`."""

    model_config = SettingsConfigDict(
        env_prefix="QA_ASSETS_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        frozen=True,
    )

    profile: ProfileName = "quickstart"
    home: Path = Field(PROJECT_ROOT / "var", description="Everything that is made lies below it.")
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingConfig = TrainingConfig()
    gate: GateSettings = GateSettings()
    spark: SparkSettings = SparkSettings()
    ray: RaySettings = RaySettings()
    kafka: KafkaSettings = KafkaSettings()
    stream: StreamSettings = StreamSettings()
    keep_versions: int = Field(
        5, ge=2, description="Newest versions of an asset that `kept_versions` leaves."
    )
    ui_port: int = Field(3000, ge=1, le=65535, description="Port of Dagster's UI, on loopback.")
    report_port: int = Field(
        3001, ge=1, le=65535, description="Port that shows reports beside the UI, on loopback."
    )
    mlflow_uri: str | None = Field(None, description="Tracking server; none: SQLite below `home`.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, and both over the profile's defaults."""
        profile = init_settings().get("profile") or os.environ.get(
            "QA_ASSETS_PROFILE", "quickstart"
        )
        defaults = InitSettingsSource(settings_cls, _PROFILES.get(profile, {}))
        return init_settings, env_settings, defaults

    @property
    def root(self) -> Path:
        """Directory of this profile: artefacts, DAGSTER_HOME, tracking, the broker's log."""
        return self.home.absolute() / self.profile

    @property
    def artifacts(self) -> Path:
        """Versioned directories of the assets."""
        return self.root / "artifacts"

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps runs and events of this profile."""
        return self.root / "dagster_home"

    @property
    def jars(self) -> Path:
        """Jars of Spark's connectors, Spark NLP and the broker, shared by the profiles."""
        return self.home.absolute() / "jars"

    @property
    def downloads(self) -> Path:
        """Data files of the official address and of the hub, shared by the profiles."""
        return self.home.absolute() / "downloads"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking server, or the SQLite file of this profile."""
        return self.mlflow_uri or f"sqlite:///{self.root / 'mlflow.db'}"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings of this process.

    Raises:
        SettingsError: a value that cannot be used, with the variable's name.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [
            f"QA_ASSETS_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            f" (got {problem['input']!r})"
            for problem in error.errors()
        ]
        raise SettingsError("unusable settings:\n  " + "\n  ".join(lines)) from None
