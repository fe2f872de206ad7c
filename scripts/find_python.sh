#!/bin/sh
# Prints the Python to build .venv with: 3.11 or newer. A name on the PATH isn't enough (version managers leave
# shims that only say "not installed"), so each candidate is run.
for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
done
echo "GarageSwarm needs Python 3.11 or newer, and none was found. Install one, or say where it is: make PYTHON=/path/to/python3" >&2
exit 1
