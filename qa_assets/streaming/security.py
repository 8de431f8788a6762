"""How every client logs in: librdkafka's properties, and Spark's, from the same settings.

The password is read from the settings here and nowhere else.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qa_assets.streaming.config import KafkaSettings


def librdkafka_options(kafka: "KafkaSettings") -> dict[str, str]:
    """What confluent-kafka's clients are made with."""
    options = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
    }
    if kafka.uses_tls and kafka.ssl_ca_file is not None:
        options["ssl.ca.location"] = str(kafka.ssl_ca_file)
    if kafka.uses_sasl:
        options |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username or "",
            "sasl.password": _password(kafka),
        }
    return options


def spark_options(kafka: "KafkaSettings") -> dict[str, str]:
    """The same as options of Spark's Kafka source, whose client is Java's.

    Kafka treats the JAAS text as a secret. Spark shows it in a query's plan, but for
    `spark.sql.redaction.string.regex`, which the session has, and perhaps where a query fails:
    what is said of that goes through `hidden`.
    """
    options = {
        "kafka.bootstrap.servers": kafka.bootstrap_servers,
        "kafka.security.protocol": kafka.security_protocol,
    }
    if kafka.uses_tls and kafka.ssl_ca_file is not None:
        options |= {
            "kafka.ssl.truststore.type": "PEM",
            "kafka.ssl.truststore.location": str(kafka.ssl_ca_file),
        }
    if kafka.uses_sasl:
        login = {"username": kafka.sasl_username or "", "password": _password(kafka)}
        said = " ".join(f'{key}="{_quoted(value)}"' for key, value in login.items())
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        options |= {
            "kafka.sasl.mechanism": kafka.sasl_mechanism,
            "kafka.sasl.jaas.config": f"{module} required {said};",
        }
    return options


def hidden(kafka: "KafkaSettings", text: str) -> str:
    """The text without the password, plain or as it is written in the JAAS text."""
    password = _password(kafka)
    for secret in {password, _quoted(password)} - {""}:
        text = text.replace(secret, "***")
    return text


def _password(kafka: "KafkaSettings") -> str:
    return kafka.sasl_password.get_secret_value() if kafka.sasl_password else ""


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
