"""Settings of streaming: the broker, from the environment; topics and limits, from the pipeline."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from qa_assets.core.retries import RetryPolicy
from qa_assets.core.task import Task

if TYPE_CHECKING:
    from qa_assets.streaming.messages import MessageSchemas


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaConfig(_Config):
    """The broker, how clients log in, and what topics are created with."""

    embedded: bool = Field(True, description="Start a broker on loopback while it is needed.")
    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = Field(
        None, validate_default=True, description="From the environment only; never shown."
    )
    ssl_ca_file: Path | None = Field(
        None,
        description="PEM of the broker's certificate authority; none: those the machine trusts.",
    )
    partitions: int = Field(2, ge=1, description="Partitions of topics that do not exist yet.")
    max_message_bytes: int = Field(
        16 * 1024**2,
        ge=1024**2,
        description="`max.message.bytes` of new topics. Larger than a readable request, so that a "
        "request that is too large becomes a dead letter.",
    )

    @property
    def max_dead_letter_bytes(self) -> int:
        """The largest dead letter: a message as large as any, and its headers."""
        return self.max_message_bytes + 64 * 1024

    @field_validator("sasl_password")
    @classmethod
    def _login_is_complete(
        cls, password: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        # on the field: an error of the whole model would show all of its values
        if str(info.data.get("security_protocol")).startswith("SASL") and not (
            password and info.data.get("sasl_username")
        ):
            raise ValueError(
                "SASL needs QA_ASSETS_KAFKA_SASL_USERNAME and QA_ASSETS_KAFKA_SASL_PASSWORD"
            )
        return password


class Topics(_Config):
    """The topics of a pipeline, and the consumer group that reads its requests."""

    requests: str = Field(min_length=1, description="What the model is asked.")
    responses: str = Field(min_length=1, description="What it gives back.")
    dead_letters: str = Field(min_length=1, description="Requests that cannot be read.")
    consumer_group: str = Field(
        min_length=1,
        description="Its committed offsets say which requests are answered; it also names the "
        "transactions.",
    )

    @classmethod
    def named(cls, pipeline: str, request: str, response: str) -> Self:
        """Topics such as `squad.questions`; the task's words for request and response."""
        return cls(
            requests=f"{pipeline}.{request}s",
            responses=f"{pipeline}.{response}s",
            dead_letters=f"{pipeline}.{request}s.dead-letter",
            consumer_group=pipeline,
        )


class StreamConfig(_Config):
    """How a pipeline's requests are consumed."""

    feed_examples: int = Field(200, ge=1, description="Test examples that are sent as requests.")
    max_offsets_per_trigger: int = Field(200, ge=1, description="Most messages in a micro-batch.")
    max_messages_per_run: int = Field(
        2000,
        ge=1,
        description="A run ends after the micro-batch that reaches so many messages; the sensor "
        "starts the next. It bounds a run's time, and the memory that Spark NLP leaks.",
    )
    max_dead_letter_share: float = Field(
        0.05, ge=0, le=1, description="More dead letters than this share of a run fail a check."
    )
    on_data_loss: Literal["fail", "continue"] = Field(
        "fail",
        description="When requests were deleted before they were answered: stop, or go on with "
        "those that are left and record which are lost.",
    )
    retry: RetryPolicy = Field(
        RetryPolicy(),
        description="Sensor: when a run that failed or answered nothing is tried again. At once, "
        "and as often again, when the model that serves or a setting has changed.",
    )
    trigger_ms: int = Field(50, ge=0, description="Worker: least time between micro-batches.")
    renew_after_messages: int = Field(
        10_000,
        ge=1,
        description="Worker: the process is replaced after so many: Spark NLP leaks some 110 KB a "
        "message.",
    )
    model_check_s: float = Field(5.0, gt=0, description="Worker: time between looks for a model.")


@dataclass(frozen=True)
class StreamContext:
    """The stream of a pipeline; the task says what requests and responses hold."""

    kafka: KafkaConfig
    topics: Topics
    config: StreamConfig
    task: Task

    @cached_property
    def schemas(self) -> "MessageSchemas":
        """The messages on the topics."""
        from qa_assets.streaming.messages import MessageSchemas  # takes 0.1 s, and settings do not

        return MessageSchemas(self.task)

    def with_run_limit(self, messages: int) -> Self:
        """The stream with another `max_messages_per_run`."""
        config = self.config.model_copy(update={"max_messages_per_run": messages})
        return replace(self, config=config)

    @property
    def tolerates_loss(self) -> bool:
        """Whether a run goes on where requests were deleted before they were answered."""
        return self.config.on_data_loss == "continue"
