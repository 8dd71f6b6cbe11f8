#!/bin/sh
# Builds what tests with real clients need, once for each interpreter, and prints its path:
#   build.sh uv PYTHON             uv, since pip takes many times longer for the packages of the clients
#   build.sh python PYTHON         an interpreter with the packages of the images
#   build.sh client-flash PYTHON   an interpreter with the client, also client-sdk
#   build.sh flash PYTHON          the artifact of apps/flash, built by the client for the version of PYTHON, also sdk
#   build.sh flash PYTHON VERSION  the same for another version, such as 3.12
#   build.sh sdk-api PYTHON        the artifact of apps/sdk-api, also sdk-hello
# The results are kept in node_modules/.cache.
set -eu

kind=$1
python=$2
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
cache=$root/node_modules/.cache/worker-tetra/clients
version=${3:-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')}

# A package's version in src/venv/versions.json
pinned() { sed -n "s/.*\"$1\": \"\(.*\)\".*/\1/p" "$root/src/venv/versions.json"; }

# Creates a virtual environment: venv FOLDER PIP-ARGUMENTS
venv() {
    folder=$1
    shift
    uv=$(sh "$0" uv "$python")
    [ -e "$folder" ] || "$uv" venv --quiet --python "$python" "$folder" >&2
    "$uv" pip install --quiet --python "$folder/bin/python" "$@" >&2
}

# Builds into the new folder $1, which is then moved: only bin/python of its virtual environment can be used.
build() {
    case $kind in
    uv) "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$1/uv" "uv==$(pinned uv)" >&2 ;;
    python)
        venv "$1/venv" "cloudpickle==$(pinned cloudpickle)" -r "$root/docker/requirements.txt"
        venv "$1/venv" --no-deps -r "$root/docker/requirements-runpod.txt"
        ;;
    # The clients run pip to build artifacts.
    client-*) venv "$1/venv" pip -r "$here/requirements-${kind#client-}.txt" ;;
    flash)
        cp -R "$here/apps/flash" "$1/app"
        (cd "$1/app" && "$client" -m runpod_flash.cli.main build --python-version "$version" >&2)
        mv "$1/app/.flash/artifact.tar.gz" "$1/artifact.tar.gz"
        rm -rf "$1/app"
        ;;
    sdk | sdk-*) (cd "$here/apps/$kind" && "$client" -B "$here/build_sdk.py" "$version" "$1/artifact.tar.gz" >&2) ;;
    esac
}

case $kind in
uv) inputs=$root/src/venv/versions.json ;;
python) inputs="$root/docker/requirements.txt $root/docker/requirements-runpod.txt $root/src/venv/versions.json" ;;
client-flash | client-sdk) inputs=$here/requirements-${kind#client-}.txt ;;
flash | sdk | sdk-*)
    client=$(sh "$0" "client-${kind%%-*}" "$python")
    inputs="$here/requirements-${kind%%-*}.txt $here/build_sdk.py $(find "$here/apps/$kind" -name '*.py' | sort)"
    ;;
*)
    echo "unknown: $kind" >&2
    exit 2
    ;;
esac

# The name depends on all inputs, so that what exists is complete and up to date.
base=$("$python" -c 'import platform, sys; print(platform.python_version(), sys.base_prefix)')
# shellcheck disable=SC2086 # a list of files
stamp=$({ echo "$base"; cat "$0" $inputs; } | cksum | cut -d " " -f 1)
result=$cache/$kind-$version-$stamp
mkdir -p "$cache"

if [ ! -e "$result" ]; then
    # Processes that need the same at the same time wait for the first one, where flock exists.
    exec 9>"$cache/.$kind.lock"
    if command -v flock >/dev/null 2>&1; then flock 9; fi
    if [ ! -e "$result" ]; then
        building=$(mktemp -d "$cache/building-XXXXXX")
        trap 'rm -rf "$building"' EXIT
        build "$building"
        [ -e "$result" ] || mv "$building" "$result"
    fi
fi
case $kind in
uv) echo "$result/uv/bin/uv" ;;
flash | sdk | sdk-*) echo "$result/artifact.tar.gz" ;;
*) echo "$result/venv/bin/python" ;;
esac
