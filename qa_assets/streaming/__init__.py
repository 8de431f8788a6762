"""Requests and responses on Kafka: messages, producer, the Spark streaming consumer, its worker."""
