#!/bin/sh
# Runs a Python tool of requirements.txt as `python -m`:
#   sh test/python/tool.sh ruff check src/python
#   sh test/python/tool.sh --path        prints the interpreter's path
# The first run installs the tools into a virtual environment in node_modules/.python, with uv if it is installed.
# PYTHON is the interpreter, python3 by default.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cloudpickle=cloudpickle==$(sed -n 's/.*"cloudpickle": "\(.*\)".*/\1/p' "$root/src/venv/versions.json")
requirements=$root/test/python/requirements.txt
python=${PYTHON:-python3}

# The name depends on the interpreter and the requirements, so that an existing venv is complete and up to date.
interpreter=$("$python" -c 'import platform, sys; print(platform.python_version(), sys.base_prefix, sys.platform)')
stamp=$({ echo "$interpreter $cloudpickle"; cat "$requirements"; } | cksum | cut -d " " -f 1)
venv=$root/node_modules/.python/${interpreter%% *}-$stamp

if [ ! -e "$venv" ]; then
    mkdir -p "$root/node_modules/.python"
    building=$(mktemp -d "$root/node_modules/.python/building-XXXXXX")
    trap 'rm -rf "$building"' EXIT
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --python "$python" "$building/venv" >&2
        uv pip install --quiet --python "$building/venv/bin/python" "$cloudpickle" -r "$requirements" >&2
    elif "$python" -m pip --help 2>/dev/null | grep -q -e --python; then
        # Creating it without pip takes a third of the time.
        "$python" -m venv --without-pip "$building/venv" >&2
        "$python" -m pip --python "$building/venv/bin/python" install --quiet --disable-pip-version-check \
            "$cloudpickle" -r "$requirements" >&2
    else
        "$python" -m venv "$building/venv" >&2
        "$building/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$cloudpickle" -r "$requirements" >&2
    fi
    # Another process may have created it in the meantime.
    [ -e "$venv" ] || mv "$building/venv" "$venv"
    rm -rf "$building"
    trap - EXIT
fi

export RUFF_CACHE_DIR="$root/node_modules/.python/ruff"
[ "$1" = --path ] && { echo "$venv/bin/python"; exit; }
exec "$venv/bin/python" -m "$@"
