"""What a laptop lacks, and a cluster has: Java, jars, a Kafka broker."""
