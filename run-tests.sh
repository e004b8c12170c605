#!/usr/bin/env bash
# All tests: lint and types, then unit tests and scenarios on lab machines. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
export PATH=$PATH:/usr/sbin:/sbin

die() { echo "run-tests.sh: $*" >&2; exit 1; }

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  cat <<'USAGE'
usage: ./run-tests.sh [--fast] [PYTEST ARGUMENT...]
Checks lint and types, installs what is missing (as root, with apt), then runs the tests, three at a time.
--fast: only the tests that need no machine
Examples: ./run-tests.sh pkgs/hostenv-provider -k intents
          ./run-tests.sh tests/scenarios -m long
USAGE
  exit 0
fi

# more at a time than two processors, since they wait more than they compute; machines first, for they take longest
pytest=(pytest --numprocesses 3 --maxschedchunk 1)
fast=
if [[ ${1:-} == --fast ]]; then
  shift
  fast=1
  pytest+=(-m "not machine and not long")
fi

install() {
  (($#)) || return 0
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    die "this host lacks $*; run, as root: apt-get install --no-install-recommends $*"
  fi
  echo "run-tests.sh: installing $*" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

command -v python3 >/dev/null || install python3
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "needs Python 3.11 or newer, python3 is $(python3 --version)"
python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv

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
mypy {pkgs/*,tests/scenarios,tests/nixos}/hostenv_*/

# what unit tests start for real; the lab names what its machines need
mapfile -t missing < <(
  while read -r program package; do
    command -v "$program" >/dev/null || echo "$package"
  done <<'PROGRAMS'
git git
nginx nginx-light
fcgiwrap fcgiwrap
php php-cli
mariadbd mariadb-server-core
mariadb mariadb-client
mariadb-backup mariadb-backup
restic restic
chromium chromium
ssh openssh-client
PROGRAMS
  for extension in mysql xml gd mbstring; do
    php -m 2>/dev/null | grep -qiE "^(pdo_)?$extension" || echo "php-$extension"
  done
  compgen -G '/usr/sbin/php-fpm*' >/dev/null || echo php-fpm
  [[ $fast ]] || PYTHONPATH=pkgs/hostenv-lab:pkgs/hostenv-core python3 -m hostenv_lab packages --machines container
)
install "${missing[@]}"

echo "== tests"
exec "${pytest[@]}" "$@"
