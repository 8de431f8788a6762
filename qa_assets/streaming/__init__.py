"""Questions and answers on Kafka: messages, producer and the Spark streaming consumer."""
