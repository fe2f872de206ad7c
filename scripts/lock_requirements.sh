#!/bin/sh
# Compiles requirements*.in into requirements*.txt: every package, pinned, for every platform and Python from 3.11 on.
# Only PyPI is asked, whatever this machine's pip is told: the hashes must be the ones everybody else gets.
set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$(sh scripts/find_python.sh)" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv

for name in requirements requirements-dev; do
    # The file as it is comes first: what is pinned stays, unless `make lock UPGRADE=--upgrade` says otherwise.
    cp "$name.txt" "$scratch/$name.txt" 2>/dev/null || :
    "$scratch/venv/bin/uv" --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-emit-index-url --no-emit-find-links \
        ${UPGRADE:-} "$name.in" --output-file "$scratch/$name.txt" >/dev/null
    {
        echo "# Compiled from $name.in by \`make lock\`: change that file, not this one."
        grep -v '^# Compiled from' "$scratch/$name.txt"
    } >"$scratch/new"
    cat "$scratch/new" >"$name.txt"
done
