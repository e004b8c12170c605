#!/usr/bin/env bash
# Moves a live website from one machine to another by a Git push, on this computer. See --help.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
python=${PYTHON:-python3}
# the other scripts run through this one
name=${HOSTENV_DEMO_NAME:-run-demo}

die() { echo "$name: $*" >&2; exit 1; }

if ! command -v "$python" >/dev/null; then
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    die "python3 is missing; install it, as root: apt-get install python3"
  fi
  echo "$name: installing python3, which is missing" >&2
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3; } >&2 ||
    die "python3 could not be installed, apt's own words are above; then, as root: apt-get install python3"
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  die "needs Python 3.11 or newer, $python is older; install one and set PYTHON to it"
fi
export PYTHONPATH=$here/pkgs/hostenv-demo:$here/pkgs/hostenv-lab:$here/pkgs/hostenv-core${PYTHONPATH:+:$PYTHONPATH}
exec "$python" -m "${HOSTENV_DEMO_MODULE:-hostenv_demo}" "$@"
