"""Settings of a pipeline's data: where it comes from, and how it is split."""

from pydantic import BaseModel, ConfigDict, Field


class DataConfig(BaseModel):
    """Where examples come from and how they are split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(
        "official",
        description="`generated`, `official`, a file, a directory, an address such as "
        "s3://bucket/folder, or `hf:owner/name` on the hub; docs/data.md has an example of each.",
    )
    generated_examples: int = Field(4000, ge=100, description="Size of the generated data set.")
    valid_examples: int = Field(
        5000,
        ge=1,
        description="Examples of whole groups held out of train to choose models by, where the "
        "data has no valid part of its own.",
    )
    train_examples: int | None = Field(None, ge=1, description="Train on so many at most.")
    eval_examples: int | None = Field(None, ge=1, description="Evaluate on so many at most.")
    max_rejected_share: float = Field(
        0.01, ge=0, le=1, description="More bad records than this share stop what is downstream."
    )
    seed: int = Field(13, description="Of generated data, of the splits and of samples.")
