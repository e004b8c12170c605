#!/usr/bin/env bash
# Moves a live website from one machine to another by a Git push, on this computer. See --help.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
python=${PYTHON:-python3}
if ! command -v "$python" >/dev/null; then
  if [[ $EUID == 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 >&2
  else
    echo "run-demo: python3 is missing; install it, as root: apt-get install python3" >&2
    exit 1
  fi
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "run-demo: needs Python 3.11 or newer, $python is older; install one and set PYTHON to it" >&2
  exit 1
fi
export PYTHONPATH=$here/pkgs/hostenv-demo:$here/pkgs/hostenv-lab${PYTHONPATH:+:$PYTHONPATH}
exec "$python" -m "${HOSTENV_DEMO_MODULE:-hostenv_demo}" "$@"
