#!/bin/sh
# mnm-helper: starts the helper where systemd does not. By exec, so that for its parent it is one
# process from beginning to end. Gives up privileges before Node starts, because capset(2) reaches
# one thread, and Node has several.
set -eu
# scripts/bundle.mjs writes here which Node, and the options that the unit gives it.
node=@NODE@
options="@OPTIONS@"
# What there is by fixed folders: PATH is the caller's, and this runs as root.
PATH=/usr/bin:/usr/sbin:/bin:/sbin
self=$(readlink -f "$0")

usage() {
  cat <<'END'
Usage: mnm-helper [--config FILE] [--socket PATH] [--peer-uid UID] [--drop-to USER]
       mnm-helper --self-check [--config FILE] [--peer-uid UID] [--drop-to USER]

The privileged part of MNM: changes addresses, routes and rules and sends DHCP messages for one
other user, and only what FILE allows.

  --config FILE    what may be touched (/etc/mnm/helper.json; without it, every link but lo)
  --socket PATH    where to listen (/run/mnm-helper/helper.sock)
  --peer-uid UID   number of the one user who may connect (that of user mnm)
  --drop-to USER   as root: begin as USER with CAP_NET_ADMIN and CAP_NET_RAW alone
  --self-check     say what this process holds and whether the helper would serve, and exit
  --allow-excess-capabilities
                   serve even with more capabilities than those two
  --help, --version
END
}

fail() {
  echo "mnm-helper: $2" >&2
  exit "$1"
}

has() {
  command -v "$1" >/dev/null
}

# A line of this process's status, without its name.
status() {
  sed -n "s/^$1:[[:space:]]*//p" "/proc/$$/status"
}

# Begins anew as that user, with the two capabilities, no way to more, and these arguments.
drop_to() {
  user=$1 uid=0 gid=0
  shift
  [ "$(id -u)" = 0 ] || fail 77 "Only root can use --drop-to"
  # By /etc/passwd alone: other directories would need the network, or NSS's libraries.
  while IFS=: read -r name _ its_uid its_gid _; do
    [ "$name" != "$user" ] || { uid=$its_uid && gid=$its_gid; }
  done </etc/passwd
  [ "$uid" != 0 ] ||
    fail 2 "--drop-to must be a user of /etc/passwd other than root, not $user; try mnm-helper --help"
  if has setpriv; then
    two=-all,+net_admin,+net_raw
    exec setpriv --reuid="$uid" --regid="$gid" --init-groups --no-new-privs \
      --bounding-set="$two" --inh-caps="$two" --ambient-caps="$two" "$self" "$@"
  fi
  has capsh || fail 77 "Neither setpriv (Debian package util-linux) nor capsh (libcap2-bin) is installed"
  # It knows no "all but": each of the others by its number.
  bounding=$((0x$(status CapBnd) & ~0x3000)) bit=0 others=''
  while [ "$bit" -lt 63 ]; do
    [ $((bounding >> bit & 1)) = 0 ] || others=$others,$bit
    bit=$((bit + 1))
  done
  # It keeps the permitted set over the change of user, which the ambient set is taken from; exec
  # leaves of it what is ambient.
  two=cap_net_admin,cap_net_raw
  exec capsh ${others:+--drop="${others#,}"} --keep=1 --user="$user" --inh="$two" --addamb="$two" \
    --no-new-privs --shell="$self" -- "$@"
}

say() {
  printf '%-14s %s\n' "$1" "$2"
}

heard_from() {
  if has "$1"; then "$@"; else echo "not installed (Debian package libcap-ng-utils)"; fi
}

# What the kernel and two tools of libcap-ng say of this process; the helper itself adds the rest.
# None of it decides: what the helper refuses, it finds out by itself.
say_what_is_held() {
  uids=$(status Uid) gids=$(status Gid) groups=$(status Groups)
  # shellcheck disable=SC2086 # Real, effective, saved, of the file system.
  set -- $uids
  say uid "$1, effective $2"
  # shellcheck disable=SC2086
  set -- $gids
  say gid "$1, groups ${groups:-none}"
  case $(status NoNewPrivs) in 1) say NoNewPrivs yes ;; *) say NoNewPrivs no ;; esac
  case $(status Seccomp) in
    0) say Seccomp off ;;
    1) say Seccomp strict ;;
    2) say Seccomp filter ;;
    *) say Seccomp unknown ;;
  esac
  say pscap "$(heard_from pscap -a | awk -v pid=$$ '$2 == pid || /not installed/ { $1 = $1; print }')"
  say captest "$(heard_from captest --text | grep -e '^Child Effective:' -e 'not installed')"
}

drop=absent user='' is_check=no
left=$#
while [ "$left" -gt 0 ]; do
  argument=$1
  shift
  left=$((left - 1))
  case $argument in
    --help)
      usage
      exit 0
      ;;
    --drop-to=*) drop=present user=${argument#*=} ;;
    --drop-to)
      [ "$left" -gt 0 ] || fail 2 "--drop-to must name a user; try mnm-helper --help"
      drop=present user=$1
      shift
      left=$((left - 1))
      ;;
    --self-check)
      is_check=yes
      set -- "$@" "$argument"
      ;;
    *) set -- "$@" "$argument" ;;
  esac
done
[ "$drop" = absent ] || drop_to "$user" "$@"
[ "$is_check" = no ] || say_what_is_held
# shellcheck disable=SC2086 # One word for each option.
exec "$node" $options "${self%/*}/mnm-helper.js" "$@"
