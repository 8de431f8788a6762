"""What the quickstart brings along: Java, jars, the Kafka broker, the generated data set."""
