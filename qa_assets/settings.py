"""Settings of the environment: where things run and lie, from QA_ASSETS_* variables.

What is made (task, data, model, hyperparameters, topics) belongs to a pipeline's `defs.yaml`.
Nothing else reads the environment; only `components`, `defs` and `cli` import this.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from qa_assets.spark import SparkConfig
from qa_assets.streaming.config import KafkaConfig
from qa_assets.training.config import RayConfig

PROJECT_ROOT = Path(__file__).resolve().parent.parent


class SettingsError(ValueError):
    """A setting that cannot be used; the message names the variable and the remedy."""


class Settings(BaseSettings):
    """All settings of a process. `QA_ASSETS_KAFKA_PARTITIONS=4` sets `kafka.partitions`."""

    model_config = SettingsConfigDict(
        env_prefix="QA_ASSETS_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        frozen=True,
    )

    home: Path = Field(PROJECT_ROOT / "var", description="Everything that is made lies below it.")
    spark: SparkConfig = SparkConfig()
    ray: RayConfig = RayConfig()
    kafka: KafkaConfig = KafkaConfig()
    keep_versions: int = Field(
        5, ge=2, description="Newest versions of an asset that `kept_versions` leaves."
    )
    ui_port: int = Field(3000, ge=1, le=65535, description="Port of Dagster's UI, on loopback.")
    report_port: int = Field(
        3001, ge=1, le=65535, description="Port that shows reports beside the UI, on loopback."
    )
    mlflow_uri: str | None = Field(None, description="Tracking server; none: SQLite below `home`.")

    @property
    def root(self) -> Path:
        """The directory `home`, absolute."""
        return self.home.absolute()

    @property
    def artifacts(self) -> Path:
        """Versioned directories of the assets, a directory for each pipeline."""
        return self.root / "artifacts"

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps runs and events."""
        return self.root / "dagster_home"

    @property
    def logs(self) -> Path:
        """Logs of runs and of what runs beside them."""
        return self.root / "logs"

    @property
    def jars(self) -> Path:
        """Jars of Spark's connectors, Spark NLP and the broker."""
        return self.root / "jars"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking server, or the SQLite file below `home`."""
        return self.mlflow_uri or f"sqlite:///{self.root / 'mlflow.db'}"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings of this process.

    Raises:
        SettingsError: a value that cannot be used, with the variable's name.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name, value = "_".join(map(str, problem["loc"])), problem["input"]
            secret = isinstance(value, dict) or "password" in name  # or it may hold one
            refused = "" if secret else f" (got {value!r})"
            lines.append(f"QA_ASSETS_{name.upper()}: {problem['msg']}{refused}")
        raise SettingsError("unusable settings:\n  " + "\n  ".join(lines)) from None
