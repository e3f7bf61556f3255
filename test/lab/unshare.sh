#!/bin/sh
# Runs a command as root of namespaces of its own (user, net, mount, pid), so that the lab works for
# an ordinary user. Everything in it ends with the command. Usage: unshare.sh COMMAND [ARGUMENT...]
set -eu
map=--map-root-user
# With subordinate ids the programs can have users of their own inside, as on a real machine.
if command -v newuidmap >/dev/null 2>&1 && grep -q "^$(id -un):" /etc/subuid 2>/dev/null; then
  map="--map-root-user --map-auto"
fi
# shellcheck disable=SC2086 # $map is one or two options
exec unshare $map --net --mount --pid --fork --kill-child --mount-proc sh -euc '
  export PATH="$PATH:/usr/sbin:/sbin"
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir /run/netns
  exec "$@"
' sh "$@"
