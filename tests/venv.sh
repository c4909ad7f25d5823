# shellcheck shell=bash
# To be sourced: makes .venv of the tests' pinned requirements where it is missing or made of others, and puts it first on PATH.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python3 "$top/tests/environment.py" "$top/.venv" "$top/tests/requirements.txt" || exit

VIRTUAL_ENV=$top/.venv
PATH=$VIRTUAL_ENV/bin:$PATH
export VIRTUAL_ENV PATH
