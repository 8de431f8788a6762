"""`python -m qa_assets.cli.worker PIPELINE`: the always-on consumer, until SIGTERM or SIGINT.

`streaming.worker.keep_running` starts it, and starts it again when Kafka was away or when it should
give back the memory that Spark NLP leaks.
"""

import logging
import sys

from qa_assets.cli.choice import chosen_pipeline, chosen_settings


def main(name: str) -> int:
    """Answer a pipeline's requests; returns the exit code."""
    from qa_assets.spark import create_session
    from qa_assets.streaming.worker import run_worker

    logging.basicConfig(format="%(asctime)s %(message)s", force=True)
    logging.getLogger("qa_assets").setLevel(logging.INFO)
    settings, pipeline = chosen_settings(), chosen_pipeline(name)
    return run_worker(
        lambda: create_session("stream", settings.spark, settings.root),
        pipeline.store(settings),
        pipeline.config.serving.model,
        pipeline.stream(settings),
        pipeline.stream_directory(settings),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
