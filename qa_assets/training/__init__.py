"""Fine-tuning of a task's models: one training, the search on Ray, calibrated abstention.

Knows tasks and models by their interfaces only. `python -m qa_assets.training` runs one training
without Dagster, Spark and Ray.
"""
