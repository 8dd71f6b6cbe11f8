#!/bin/sh
# Runs the runner's unit tests under every version of Python that it supports and that is to be had: from uv (which may
# download it), on the PATH, or from pyenv. Says which versions were skipped; fails if tests fail, or if none was found.
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
        # pyenv has a command for every version, which fails for those that are not selected.
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
