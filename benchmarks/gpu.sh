#!/usr/bin/env bash
# The figures of a GPU: values first, then times beside their floors. Needs no network, and less than eight minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
