"""Jobs: what is launched as a whole, beside materialising assets."""

import dagster as dg

from qa_assets.training.config import RECIPE

rollback = dg.define_asset_job(
    "rollback",
    selection=dg.AssetSelection.assets("champion", "onnx_model", "spark_nlp_model"),
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
