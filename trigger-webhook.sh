#!/usr/bin/env bash
# Sends one webhook to the provider of a demo that runs, and prints what became of it. See --help.
HOSTENV_DEMO_NAME=trigger-webhook HOSTENV_DEMO_MODULE=hostenv_demo.trigger exec "$(dirname "$(readlink -f "$0")")/run-demo.sh" "$@"
