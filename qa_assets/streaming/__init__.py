"""Questions and answers on Kafka: messages, producer and the Spark Structured Streaming consumer."""
