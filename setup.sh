#!/bin/sh
# Makes the environment that `make` works in, with no more than a python3 and a package registry:
# uv at the version and hash of bootstrap.lock, then CPython 3.11 with what requirements.lock says.
set -eu
PYTHON=${PYTHON:-python3} VENV=${VENV:-.venv} TOOLS=.tools

fail() {
    echo "setup: $*" >&2
    exit 1
}

command -v "$PYTHON" >/dev/null || fail "there is no $PYTHON: install Python 3, or set PYTHON"

if ! "$TOOLS/bin/uv" --version 2>/dev/null | grep -qF "$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' bootstrap.lock)"; then
    echo "setup: uv"
    rm -rf "$TOOLS"
    if "$PYTHON" -m venv "$TOOLS" >/dev/null 2>&1; then
        "$TOOLS/bin/python" -m pip install -q --require-hashes -r bootstrap.lock ||
            fail "uv cannot be installed: is the package registry reachable (pip config, proxy)?"
    else # Debian's python3 without python3-venv
        rm -rf "$TOOLS"
        "$PYTHON" -m pip install -q --require-hashes --target "$TOOLS" -r bootstrap.lock ||
            fail "$PYTHON has neither venv nor pip: install one of them (Debian: python3-venv)"
    fi
fi

echo "setup: $VENV on CPython 3.11, from requirements.lock (6 GB the first time)"
"$TOOLS/bin/uv" venv -q --allow-existing --python 3.11 "$VENV" ||
    fail "there is no CPython 3.11 and uv cannot fetch one: install it"
export VIRTUAL_ENV="$VENV"
"$TOOLS/bin/uv" pip sync --require-hashes requirements.lock ||
    fail "the packages of requirements.lock cannot be installed: registry reachable, 8 GB free?"
"$TOOLS/bin/uv" pip install -q --no-deps --no-build-isolation --editable .
