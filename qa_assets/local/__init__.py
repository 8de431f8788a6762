"""What a laptop lacks: Java, jars, a Kafka broker."""
