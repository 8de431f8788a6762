"""Comparing models on the same examples: figures, intervals, the report. No engine, no Dagster."""
