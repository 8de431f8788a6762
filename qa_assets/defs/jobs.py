"""Jobs: what is launched as a whole, beside materialising assets."""

import threading

import dagster as dg

from qa_assets.training.config import RECIPE

rollback = dg.define_asset_job(
    "rollback",
    selection=dg.AssetSelection.assets(
        "champion", "onnx_model", "ctranslate2_model", "spark_nlp_model"
    ),
    config={"ops": {"champion": {"config": {"rollback": True}}}},
    description="Puts the champion before this one back, and makes anew what serves of it.",
)

clean_up = dg.define_asset_job(
    "clean_up",
    selection=dg.AssetSelection.assets("kept_versions"),
    description="Removes old versions of the artefacts, but none that an artefact still names.",
)

train_full = dg.define_asset_job(
    "train_full",
    selection=dg.AssetSelection.assets("test_report").upstream().required_multi_asset_neighbors(),
    config={"ops": {"checkpoints": {"config": RECIPE.model_dump(exclude_defaults=True)}}},
    description="From raw data to the report on test, by the recipe for quality: hours on a CPU.",
)


@dg.op
def answer_as_they_come() -> None:
    """The always-on consumer, until the run is terminated; it finishes its batch then."""
    from qa_assets.always_on import keep_answering

    code = keep_answering(threading.Event())
    raise dg.Failure(f"the consumer ended by itself, with exit code {code}: see its output")


@dg.job(description="Answer questions as they come; the sensor starts no run meanwhile.")
def stream() -> None:
    """Launched in the UI (Jobs), and terminated there."""
    answer_as_they_come()
