"""How clients log in. The password is read from the settings here and nowhere else."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qa_assets.streaming.config import KafkaConfig


def librdkafka_options(kafka: "KafkaConfig") -> dict[str, str]:
    """The properties of confluent-kafka's clients."""
    options = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL") and kafka.ssl_ca_file is not None:
        options["ssl.ca.location"] = str(kafka.ssl_ca_file)
    if kafka.security_protocol.startswith("SASL"):
        options |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username or "",
            "sasl.password": _password(kafka),
        }
    return options


def spark_options(kafka: "KafkaConfig") -> dict[str, str]:
    """The properties of Spark's Kafka source, whose client is Java's.

    Spark may show the JAAS configuration in a query's plan, unless the session sets
    `spark.sql.redaction.string.regex`, and in the error of a failed query: see `redacted`.
    """
    options = {
        "kafka.bootstrap.servers": kafka.bootstrap_servers,
        "kafka.security.protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL") and kafka.ssl_ca_file is not None:
        options |= {
            "kafka.ssl.truststore.type": "PEM",
            "kafka.ssl.truststore.location": str(kafka.ssl_ca_file),
        }
    if kafka.security_protocol.startswith("SASL"):
        login = {"username": kafka.sasl_username or "", "password": _password(kafka)}
        arguments = " ".join(f'{key}="{_escaped(value)}"' for key, value in login.items())
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        options |= {
            "kafka.sasl.mechanism": kafka.sasl_mechanism,
            "kafka.sasl.jaas.config": f"{module} required {arguments};",
        }
    return options


def redacted(kafka: "KafkaConfig", text: str) -> str:
    """The text without the password, plain or as it is escaped in the JAAS configuration."""
    password = _password(kafka)
    for secret in {password, _escaped(password)} - {""}:
        text = text.replace(secret, "***")
    return text


def _password(kafka: "KafkaConfig") -> str:
    return kafka.sasl_password.get_secret_value() if kafka.sasl_password else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
