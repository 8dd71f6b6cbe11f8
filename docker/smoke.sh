#!/bin/sh
# Smoke test of an image: doctor, all fixtures, a job with --test_input, deployed apps, and a shutdown by SIGTERM.
#   docker run --rm IMAGE /opt/worker-tetra/smoke.sh
# Add --gpus all for the GPU image. Fixtures that need other hardware are skipped. Prints the output of a failed step.
set -eu

cd "$(dirname "$0")"
work=$(mktemp -d)
pid=
trap 'rm -rf "$work"; [ -z "$pid" ] || kill "$pid" 2>/dev/null || :' EXIT

failed() {
    echo "== FAILED: $1"
    cat "$2"
    exit 1
}

echo "== doctor"
worker-tetra doctor >"$work/doctor" 2>&1 || failed "doctor exited with $?" "$work/doctor"
sed "/^Settings/,\$d" "$work/doctor"

echo "== fixtures"
worker-tetra run --check fixtures/*.json

echo "== one job with --test_input"
worker-tetra start --test_input "$(cat fixtures/hello_world.json)"

for client in flash sdk; do
    echo "== a deployed app of $client"
    tar -czf "$work/$client.tar.gz" -C "fixtures/apps/$client" .
    RUNPOD_ENDPOINT_ID=smoke FLASH_RESOURCE_NAME=hello FLASH_BUILD_ARTIFACT_PATH="$work/$client.tar.gz" \
        RUNPOD_APP_DIR="$work/$client" worker-tetra start --test_input '{"input": {"name": "image"}}' >"$work/output" 2>"$work/log" ||
        failed "the app's job exited with $?" "$work/log"
    grep -q '"hello": *"image"' "$work/output" || failed "the app's job has another result" "$work/output"
done

echo "== load balancer, health and SIGTERM"
PORT=18080 tini -s -- worker-tetra start >"$work/log" 2>&1 &
pid=$!
ping='import urllib.request as u; assert u.urlopen("http://127.0.0.1:18080/ping", timeout=5).status == 200'
tries=0
until base/bin/python -I -c "$ping" 2>"$work/ping"; do
    kill -0 "$pid" 2>/dev/null || failed "the worker ended before it was ready" "$work/log"
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || { cat "$work/ping"; failed "/ping did not return 200 within 30 seconds" "$work/log"; }
    sleep 0.5
done
bin/node health.mjs >"$work/health" 2>&1 || { status=$?; cat "$work/health"; failed "the health check exited with $status" "$work/log"; }
kill -TERM "$pid"
wait "$pid" || failed "after SIGTERM the worker exited with $? instead of 0" "$work/log"
pid=
echo "== all steps passed"
