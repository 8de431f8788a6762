"""How clients log in. The password is read from the settings here and nowhere else."""

from qa_assets.streaming.config import KafkaConfig


def librdkafka_options(kafka: KafkaConfig) -> dict[str, str]:
    """The properties of confluent-kafka's clients."""
    login = {"sasl.username": kafka.sasl_username or "", "sasl.password": _password(kafka)}
    return _options(kafka, {"ssl.ca.location": str(kafka.ssl_ca_file)}, login)


def spark_options(kafka: KafkaConfig) -> dict[str, str]:
    """The properties of Spark's Kafka source, whose client is Java's.

    Spark may show the JAAS configuration in a query's plan, unless the session sets
    `spark.sql.redaction.string.regex`, and in the error of a failed query: see `redacted`.
    """
    user, password = _escaped(kafka.sasl_username or ""), _escaped(_password(kafka))
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    login = {"sasl.jaas.config": f'{module} required username="{user}" password="{password}";'}
    trusted = {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(kafka.ssl_ca_file)}
    return {f"kafka.{name}": value for name, value in _options(kafka, trusted, login).items()}


def redacted(kafka: KafkaConfig, text: str) -> str:
    """The text without the password, plain or as it is escaped in the JAAS configuration."""
    password = _password(kafka)
    for secret in {password, _escaped(password)} - {""}:
        text = text.replace(secret, "***")
    return text


def _options(kafka: KafkaConfig, trusted: dict[str, str], login: dict[str, str]) -> dict[str, str]:
    """The properties of both, with those of TLS and of the login where the protocol has them."""
    protocol = kafka.security_protocol
    options = {"bootstrap.servers": kafka.bootstrap_servers, "security.protocol": protocol}
    if protocol.endswith("SSL") and kafka.ssl_ca_file is not None:
        options |= trusted
    if protocol.startswith("SASL"):
        options |= {"sasl.mechanism": kafka.sasl_mechanism, **login}
    return options


def _password(kafka: KafkaConfig) -> str:
    return kafka.sasl_password.get_secret_value() if kafka.sasl_password else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
