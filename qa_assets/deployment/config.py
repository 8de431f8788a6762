"""Settings of a pipeline's serving model: engine, int8 recipes, and parity checks."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EngineName = Literal["spark_nlp", "ctranslate2"]


class ServingConfig(BaseModel):
    """What serves, and how its int8 form is chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EngineName = Field("spark_nlp", description="What runs the model that serves.")
    alphas: tuple[float, ...] = Field(
        (0.5, 0.7), description="Migration strengths of SmoothQuant to try before quantising."
    )
    recipe_examples: int = Field(
        2000, ge=50, description="Valid examples that int8 recipes are compared on."
    )
    calibration_examples: int = Field(
        128, ge=1, description="Other valid examples, for the activation statistics."
    )
    parity_examples: int = Field(
        500, ge=1, description="Prompts at least that an engine must predict as transformers does."
    )

    @property
    def model(self) -> str:
        """The asset that serves."""
        return f"{self.engine}_model"
