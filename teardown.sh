#!/usr/bin/env bash
# Removes what a crashed run of the demo left.
HOSTENV_DEMO_NAME=teardown exec "$(dirname "$(readlink -f "$0")")/run-demo.sh" --teardown "$@"
