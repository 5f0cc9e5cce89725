#!/bin/sh
# Starts a script with the Node that package.json pins (installed by npm as node_modules/.bin/node).
#
# It needs libatomic1, which a bare Debian lacks. As root on Debian the test runner installs it
# (HEDDLE_INSTALL=1, set by `npm test`); everyone else is told the package's name.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
node=$root/node_modules/.bin/node

if [ ! -x "$node" ]; then
  echo "heddle: $root/node_modules has no Node of its own; run 'npm ci' in $root first" >&2
  exit 2
fi

if ! reason=$("$node" --version 2>&1 >/dev/null); then
  case $reason in
    *libatomic*)
      if [ "${HEDDLE_INSTALL:-}" = 1 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "heddle: installing libatomic1, which the project's Node needs" >&2
        apt-get update -qq && apt-get install -y -qq libatomic1 >/dev/null
      else
        echo "heddle: the project's Node needs the shared library libatomic.so.1; install the package libatomic1 (Debian, Ubuntu: apt-get install libatomic1; Fedora: dnf install libatomic)" >&2
        exit 2
      fi
      ;;
    *)
      echo "heddle: the project's Node does not start on this machine: $reason" >&2
      exit 2
      ;;
  esac
fi

PATH=$root/node_modules/.bin:$PATH
export PATH
exec "$node" --disable-warning=ExperimentalWarning "$@"
