#!/bin/sh
# Runs the unit tests of the runner with each supported version of Python that is available: from uv (which may download
# it), on the PATH, or from pyenv. Prints the skipped versions; fails if tests fail or no version was found.
#   sh test/python/pythons.sh [VERSION...]
set -u

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

find_python() {
    if command -v uv >/dev/null 2>&1; then
        uv python find --quiet "$1" 2>/dev/null && return
        uv python install --quiet "$1" 2>/dev/null && uv python find --quiet "$1" 2>/dev/null && return
    fi
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        # The commands of pyenv fail for versions that are not selected.
        "$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null && return
    done
    return 1
}

[ $# -gt 0 ] || set -- 3.9 3.10 3.11 3.12 3.13 3.14
passed= failed= skipped=
for version in "$@"; do
    if ! python=$(find_python "$version"); then
        skipped="$skipped $version"
        continue
    fi
    echo "== Python $version: $python"
    if PYTHON=$python sh "$here/tool.sh" pytest -q -c src/python/pyproject.toml; then
        passed="$passed $version"
    else
        failed="$failed $version"
    fi
done
echo "passed:${passed:- none}; failed:${failed:- none}; skipped, as no interpreter was found:${skipped:- none}"
[ -z "$failed" ] && [ -n "$passed" ]
