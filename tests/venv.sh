# shellcheck shell=bash
# To be sourced: makes .venv of the hashed requirements where it is missing or made of others, and puts it first on PATH.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

(
  set -euo pipefail
  cd "$top"
  made_of=$(pwd && python3 --version && cat requirements.txt tests/requirements.txt)
  [ "$made_of" != "$(cat .venv/made-of 2>/dev/null)" ] || exit 0
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"this needs Python 3.11 or newer, python3 is {sys.version}")'
  python3 -m venv --clear .venv || {
    echo "python3 cannot make a virtual environment: on Debian and Ubuntu, apt-get install python3-venv" >&2
    exit 1
  }
  .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.txt
  echo "$made_of" >.venv/made-of
)

VIRTUAL_ENV=$top/.venv
PATH=$VIRTUAL_ENV/bin:$PATH
export VIRTUAL_ENV PATH
