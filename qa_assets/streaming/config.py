"""The broker, its topics and how questions are streamed: two groups of the settings."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Group):
    """The broker, how to log in to it, and the topics."""

    embedded: bool = Field(
        True, description="Start a broker on loopback for as long as it is needed."
    )
    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = Field(
        None, validate_default=True, description="From the environment only; never shown."
    )
    ssl_ca_file: Path | None = Field(
        None,
        description="PEM file of the authority that signed the broker's certificate; none: "
        "those that the machine trusts.",
    )
    questions_topic: str = "questions"
    answers_topic: str = "answers"
    dead_letter_topic: str = "questions.dead-letter"
    consumer_group: str = Field(
        "qa-assets",
        min_length=1,
        description="Consumer group whose offsets say what was answered; also names the "
        "transactions. A name for each consumer of the questions.",
    )
    partitions: int = Field(2, ge=1, description="Partitions of topics that do not exist yet.")
    max_message_bytes: int = Field(
        16 * 1024**2,
        ge=1024**2,
        description="Largest message that topics made by us take. What is too large to be a "
        "question can so arrive, and become a dead letter.",
    )

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether clients log in."""
        return self.security_protocol.startswith("SASL")

    @field_validator("sasl_password")
    @classmethod
    def _login_is_whole(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # of the field, since an error of the whole group would show the group
        if str(info.data.get("security_protocol")).startswith("SASL") and not (
            password and info.data.get("sasl_username")
        ):
            raise ValueError(
                "SASL needs QA_ASSETS_KAFKA_SASL_USERNAME and QA_ASSETS_KAFKA_SASL_PASSWORD"
            )
        return password


class StreamSettings(_Group):
    """How questions are streamed."""

    questions: int = Field(200, ge=1, description="Test questions that `question_feed` produces.")
    max_offsets_per_trigger: int = Field(
        200, ge=1, description="Messages in a micro-batch at most."
    )
    max_questions_per_run: int = Field(
        2000,
        ge=1,
        description="A run of `answers` ends after the batch that reaches so many messages; the "
        "sensor starts the next. It bounds a run's time, and the memory that Spark NLP leaks.",
    )
    max_dead_letter_share: float = Field(
        0.05, ge=0, le=1, description="More dead letters than this share of a run fail a check."
    )
    on_data_loss: Literal["fail", "continue"] = Field(
        "fail",
        description="When questions were deleted before they were answered: stop, or go on with "
        "those that are left and write down which are lost.",
    )
    trigger_ms: int = Field(
        200, ge=0, description="Always-on: milliseconds between looks at the topic."
    )
    renew_after_messages: int = Field(
        2000,
        ge=1,
        description="Always-on: the process ends after so many, and another goes on: Spark NLP "
        "leaks some 120 KB a question.",
    )
    model_check_s: float = Field(
        5.0, gt=0, description="Always-on: seconds between looks for a new model."
    )
