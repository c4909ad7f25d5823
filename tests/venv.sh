# shellcheck shell=bash
# To be sourced: makes an environment of the tests' pinned requirements, once for all clones, and puts it first on PATH.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VIRTUAL_ENV=$(python3 "$top/tests/environment.py" banner-tests "$top/tests/requirements.txt") || exit
PATH=$VIRTUAL_ENV/bin:$PATH
export VIRTUAL_ENV PATH
