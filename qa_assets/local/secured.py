"""The broker on loopback with TLS and SCRAM, as real clusters have them, to try their settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Secured:
    """What a broker with SASL_SSL needs.

    Attributes:
        certificate: PEM file of the broker's private key (PKCS 8, without a password) and its
            certificate.
        client: librdkafka's options of the one client that it lets in: mechanism, user name,
            password, and how that client trusts the certificate.
    """

    certificate: Path
    client: Mapping[str, str]

    def properties(self, host: str, port: int, internal: int) -> dict[str, str]:
        """Properties of the broker, over those of one that lets anybody in.

        Args:
            host: the loopback address.
            port: where clients come in.
            internal: a free port on which the broker talks to itself, in plain text.
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
        """Options of the tool that formats the broker's data: the one user."""
        name, password = self.client["sasl.username"], self.client["sasl.password"]
        return ["--add-scram", f"{self.client['sasl.mechanism']}=[name={name},password={password}]"]
