"""Jobs: what is launched as a whole, beside materialising assets."""

import dagster as dg

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
