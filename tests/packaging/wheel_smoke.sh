#!/usr/bin/env bash
# Build the wheel, install it into an empty environment, and run every smoke config from an empty folder.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work/dist" "$root"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --constraint "$root/constraints.txt" "$work"/dist/*.whl
cd "$work"
for config in "$root"/configs/smoke/*.yaml; do
  method=$(sed -n '1s/^# method: //p' "$config")
  echo "smoke: $config ($method)"
  "$work/venv/bin/videoedit" run "$method" --config "$config" --out "out-$(basename "$config" .yaml)"
  test -s "out-$(basename "$config" .yaml)/report.html"
done
"$work/venv/bin/videoedit" methods
echo "wheel smoke passed"
