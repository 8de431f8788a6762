"""One folder a task, each behind `qa_assets.core.task`."""
