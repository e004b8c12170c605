#!/usr/bin/env bash
# Removes what a crashed run of the demo left.
exec "$(dirname "$(readlink -f "$0")")/run-demo.sh" --teardown "$@"
