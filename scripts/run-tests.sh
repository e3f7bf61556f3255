#!/bin/bash
# Runs the compiled tests below the given folders with node's own test runner.
set -euo pipefail
mapfile -t files < <(find "$@" -name '*.test.js' | sort)
if [ ${#files[@]} -eq 0 ]; then
  echo "No compiled test below $*; run: make build" >&2
  exit 1
fi
# A file that hangs fails, long before whoever runs this gives up.
exec node --enable-source-maps --test --test-concurrency="${TEST_CONCURRENCY:-2}" \
  --test-timeout="${TEST_TIMEOUT_MS:-1200000}" "${files[@]}"
