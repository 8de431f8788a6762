"""A broker with TLS and a login: all clients get in by the settings, and none shows them."""

import datetime as dt
import ipaddress
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from qa_assets.local.broker import Login, broker, free_port
from qa_assets.settings import SettingsError, load_settings
from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.kafka import KafkaUnavailable, end_offsets, ensure_topics
from qa_assets.streaming.security import librdkafka_options, spark_options
from qa_assets_tests.streaming.stream import Stream, prediction, stream_context

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PASSWORD = 'pass"word\\with quotes'  # noqa: S105


def _certificate(home: Path) -> tuple[Path, Path]:
    """A self-signed certificate for loopback: with its key, for the broker, and alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    server, authority = home / "server.pem", home / "ca.pem"
    server.write_bytes(private + certificate)
    authority.write_bytes(certificate)
    return server, authority


def _login(kafka: KafkaConfig, certificate: Path) -> Login:
    """TLS and SCRAM for the only user; the broker's own connections are in plain text."""
    client = librdkafka_options(kafka)
    mechanism = client["sasl.mechanism"]
    listener = f"listener.name.sasl_ssl.{mechanism.lower()}.sasl.jaas.config"
    properties = {
        "listener.security.protocol.map": (
            "SASL_SSL:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "advertised.listeners": (
            f"SASL_SSL://{kafka.bootstrap_servers},INTERNAL://127.0.0.1:{free_port()}"
        ),
        "inter.broker.listener.name": "INTERNAL",
        "sasl.enabled.mechanisms": mechanism,
        listener: "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate.absolute()),
    }
    user = f"[name={client['sasl.username']},password={client['sasl.password']}]"
    return Login(client, properties, ["--add-scram", f"{mechanism}={user}"])


@contextmanager
def _locked_broker(
    home: Path, jars_dir: Path, mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"]
) -> Iterator[KafkaConfig]:
    """The settings of a broker with SASL_SSL."""
    server, authority = _certificate(home)
    kafka = KafkaConfig(
        bootstrap_servers=f"127.0.0.1:{free_port()}",
        security_protocol="SASL_SSL",
        sasl_mechanism=mechanism,
        sasl_username="asker",
        sasl_password=SecretStr(PASSWORD),
        ssl_ca_file=authority,
    )
    login = _login(kafka, server)
    with broker(home / "broker", kafka.bootstrap_servers, jars_dir, login):
        yield kafka


@pytest.fixture(scope="module")
def secured(jars_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaConfig]:
    """Of the default mechanism, the stronger one."""
    home = tmp_path_factory.mktemp("secured")
    with _locked_broker(home, jars_dir, "SCRAM-SHA-512") as kafka:
        yield kafka


def test_questions_are_asked_and_answered_behind_a_login(
    spark: "SparkSession",
    secured: KafkaConfig,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    from pyspark.sql import functions as sf

    caplog.set_level("DEBUG")
    stream = Stream(spark, stream_context(secured), tmp_path)
    stream.send(["a", "b"])
    summary = stream.run()
    assert (summary.answered, summary.lag) == (2, 0)
    assert len(stream.responses()) == 2
    source = spark.readStream.format("kafka").options(**spark_options(secured))
    source.option("subscribe", stream.topics.requests).load().explain(extended=True)

    broken = prediction(sf.raise_error(sf.lit("broken")))
    with pytest.raises(Exception, match="broken") as failed:
        stream.send(["c"])
        stream.run(lambda frame: frame.withColumn("prediction", broken))
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    logged = "".join([*capfd.readouterr(), caplog.text, repr(secured), repr(summary)])
    for secret in (PASSWORD, PASSWORD.replace("\\", "\\\\").replace('"', '\\"')):
        assert secret not in logged
        assert secret not in "".join(traceback.format_exception(failed.value))
        assert not any(secret.encode() in text for text in files)


def test_the_other_mechanism_logs_in_too(
    spark: "SparkSession", jars_dir: Path, tmp_path: Path
) -> None:
    with _locked_broker(tmp_path, jars_dir, "SCRAM-SHA-256") as kafka:
        stream = Stream(spark, stream_context(kafka), tmp_path / "answers")
        stream.send(["a"])
        assert stream.run().answered == len(stream.responses()) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"sasl_password": SecretStr("another")}, {"sasl_username": "nobody"}, {"ssl_ca_file": None}],
    ids=["password", "user", "authority"],
)
def test_a_refused_login_is_an_error_at_once(
    secured: KafkaConfig, wrong: dict[str, object]
) -> None:
    started = time.monotonic()
    with pytest.raises(
        KafkaUnavailable, match=r"QA_ASSETS_KAFKA_SASL.*(uthentication|SSL)"
    ) as refused:
        end_offsets(secured.model_copy(update=wrong), "questions", timeout_s=15)
    with pytest.raises(KafkaUnavailable):
        ensure_topics(secured.model_copy(update=wrong), ["questions"])
    assert time.monotonic() - started < 5
    assert PASSWORD not in str(refused.value)


def test_settings_come_from_the_environment_and_do_not_show_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QA_ASSETS_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("QA_ASSETS_KAFKA_SASL_PASSWORD", PASSWORD)
    with pytest.raises(SettingsError, match="QA_ASSETS_KAFKA_SASL_USERNAME") as incomplete:
        load_settings()
    monkeypatch.setenv("QA_ASSETS_KAFKA_SASL_USERNAME", "asker")
    settings = load_settings()
    assert settings.kafka.sasl_password is not None
    assert settings.kafka.sasl_password.get_secret_value() == PASSWORD
    monkeypatch.setenv("QA_ASSETS_KAFKA_PARTITIONS", "none")
    with pytest.raises(SettingsError) as wrong:
        load_settings()
    # the second is what the code location shows in Dagster
    for text in (str(incomplete.value), str(wrong.value), str(settings.model_dump(mode="json"))):
        assert PASSWORD not in text
