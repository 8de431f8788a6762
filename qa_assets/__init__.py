"""A data platform on Dagster in which every artefact of a question-answering model is an asset."""
