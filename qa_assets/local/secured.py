"""TLS and SCRAM for the embedded broker, to test the settings of real clusters."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Secured:
    """A broker's SASL_SSL listener.

    Attributes:
        certificate: PEM file of the broker's private key (PKCS 8, without a password) and its
            certificate.
        client: librdkafka's options of its only user: mechanism, user name, password, and how the
            client trusts the certificate.
    """

    certificate: Path
    client: Mapping[str, str]

    def properties(self, host: str, port: int, internal: int) -> dict[str, str]:
        """Properties of the broker, over those without a login.

        Args:
            host: the loopback address.
            port: of clients.
            internal: a free port for the broker's own connections, in plain text.
        """
        mechanism = self.client["sasl.mechanism"]
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
        """Options that add the user when the broker's data is formatted."""
        name, password = self.client["sasl.username"], self.client["sasl.password"]
        return ["--add-scram", f"{self.client['sasl.mechanism']}=[name={name},password={password}]"]
