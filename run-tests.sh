#!/usr/bin/env bash
# All tests: lint and types, unit tests, then the scenarios on lab machines. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

die() { echo "run-tests.sh: $*" >&2; exit 1; }

case ${1:-} in
  -h | --help)
    echo "usage: ./run-tests.sh [PYTEST ARGUMENT...]"
    echo "Installs what is missing (as root, with apt), checks lint and types, then runs every test."
    echo "Example: ./run-tests.sh pkgs/hostenv-provider -k intents"
    exit 0
    ;;
esac

command -v python3 >/dev/null || pkgs/hostenv-lab/install-packages python3
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "needs Python 3.11 or newer, found $(python3 --version)"
pkgs/hostenv-lab/install-packages $(PYTHONPATH=pkgs/hostenv-lab python3 -m hostenv_lab packages --tests)

venv=${XDG_CACHE_HOME:-$HOME/.cache}/hostenv-tests/$(sha256sum requirements-dev.txt | cut -c1-12)
if [[ ! -e $venv/complete ]]; then
  echo "run-tests.sh: installing the development tools into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements-dev.txt
  touch "$venv/complete"
fi
export PATH=$venv/bin:$PATH

echo "== lint"
ruff check --quiet
ruff format --check --quiet
echo "== types"
for package in pkgs/*/hostenv_* tests/scenarios/hostenv_*; do mypy "$package"; done
echo "== tests"
exec pytest "$@"
