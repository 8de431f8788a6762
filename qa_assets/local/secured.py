"""The embedded broker with a lock: TLS and SCRAM on its one address, as real clusters have them.

To try the settings of a real cluster without one.
"""

from dataclasses import dataclass
from pathlib import Path

from qa_assets.streaming.config import KafkaSettings


@dataclass(frozen=True)
class Secured:
    """What a broker with SASL_SSL needs."""

    certificate: Path
    """PEM file of the broker's private key (PKCS 8, without a password) and its certificate."""
    client: KafkaSettings
    """Whom it lets in: mechanism, user name and password; and how it is asked whether it is up."""

    def properties(self, host: str, port: int, internal: int) -> dict[str, str]:
        """Of the broker, over those of one without a lock.

        Args:
            host: the loopback address.
            port: where clients come in.
            internal: a free port on which the broker talks to itself, without a lock.
        """
        mechanism = self.client.sasl_mechanism
        listener = f"listener.name.sasl_ssl.{mechanism.lower()}.sasl.jaas.config"
        return {
            "listener.security.protocol.map": (
                "SASL_SSL:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "advertised.listeners": f"SASL_SSL://{host}:{port},INTERNAL://{host}:{internal}",
            "inter.broker.listener.name": "INTERNAL",
            "sasl.enabled.mechanisms": mechanism,
            listener: "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificate.absolute()),
        }

    def format_options(self) -> list[str]:
        """Of the tool that formats the broker's data: the one user."""
        password = self.client.sasl_password
        secret = password.get_secret_value() if password else ""
        user = f"[name={self.client.sasl_username},password={secret}]"
        return ["--add-scram", f"{self.client.sasl_mechanism}={user}"]
