#!/bin/sh
# Installs MNM from this folder on a Linux with glibc; run again, it upgrades. As root:
#
#   ./install.sh                 into /usr/local, or PREFIX; NODE=/path/to/node if it is not in PATH
#   DESTDIR=/tmp/x ./install.sh  only files, for whoever makes a package of it
#
# and afterwards, from where it was installed:
#
#   /usr/local/lib/mnm/install.sh --uninstall   uplinks keep working, configuration and state stay
#   /usr/local/lib/mnm/install.sh --purge       nothing stays: uplinks are taken down
set -eu
umask 022
here=$(dirname "$(readlink -f "$0")")
DESTDIR=${DESTDIR:-}

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

is_running_system() {
  [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]
}

# --- Removing ---------------------------------------------------------------------------------

uninstall() {
  [ -f "$here/installed-files" ] || fail "run the copy in PREFIX/lib/mnm, it knows what was installed"
  if is_running_system; then
    systemctl disable --quiet --now mnm-controller.service mnm-helper.service mnm-helper.socket || true
  fi
  [ "$1" = --uninstall ] || purge
  files=$(cat "$here/installed-files")
  folders=$(sort -r "$here/installed-folders")
  rm -f "$here"/*.cache
  for file in $files; do rm -f "$DESTDIR$file"; done
  for folder in $folders; do rmdir "$DESTDIR$folder" 2>/dev/null || true; done
  is_running_system && systemctl daemon-reload
  return 0
}

purge() {
  if [ -z "$DESTDIR" ]; then
    if command -v perl >/dev/null; then
      perl "$here/purge-owned.pl" || echo "install.sh: something of protocol 77 is left" >&2
    else
      echo "install.sh: without perl, addresses, routes and rules stay until the next boot" >&2
    fi
  fi
  rm -rf "$DESTDIR/var/lib/mnm"
  rm -f "$DESTDIR/etc/mnm/mnm.yaml" "$DESTDIR/etc/mnm/helper.json" "$DESTDIR/var/log/mnm.log"
  rmdir "$DESTDIR/etc/mnm" 2>/dev/null || true
}

# --- Installing -------------------------------------------------------------------------------

check_node() {
  NODE=${NODE:-$(command -v node || true)}
  [ -x "$NODE" ] || fail "there is no Node; install 20.19 or newer, or name it: NODE=/path/to/node"
  # Not through a symbolic link: the unit says by name what may be executed.
  NODE=$(readlink -f "$NODE")
  "$NODE" -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    const { glibcVersionRuntime } = process.report.getReport().header;
    const say = (text) => { console.error(`install.sh: ${text}`); process.exit(1); };
    if (major < 20 || (major === 20 && minor < 19)) say(`${process.execPath} is Node ${process.versions.node}; 20.19 is needed`);
    if (process.arch !== process.argv[1]) say(`this is for ${process.argv[1]}, Node is for ${process.arch}`);
    if (glibcVersionRuntime === undefined) say("this needs glibc; there are no native parts for musl");
  ' "$(cat "$here/arch")" || exit 1
  case $NODE in
    /home/*|/root/*) fail "$NODE is in a home, which the units do not let the programs see" ;;
  esac
}

# Makes a folder, and remembers which ones were not there.
make_folder() {
  [ ! -d "$DESTDIR$1" ] || return 0
  make_folder "$(dirname "$1")"
  mkdir "$DESTDIR$1"
  echo "$1" >>"$made"
}

# From (a file of ours), to (without DESTDIR).
put() {
  make_folder "$(dirname "$2")"
  if [ -L "$1" ]; then
    ln -sfn "$(readlink "$1")" "$DESTDIR$2"
  else
    mode=644
    [ ! -x "$1" ] || mode=755
    install -m "$mode" "$1" "$DESTDIR$2.new"
    case $2 in
      *.service)
        sed -i -e "s|/usr/lib/mnm/|$lib/|g" -e "s|/usr/bin/node|$NODE|g" \
          -e "s|/usr/bin/mnmctl|$PREFIX/bin/mnmctl|g" -e "s|^ExecPaths=.*|& $lib|" "$DESTDIR$2.new" ;;
      "$lib"/mnm-helper) sed -i -e "s|^node=/usr/bin/node|node=$NODE|" "$DESTDIR$2.new" ;;
      "$lib"/mnm*.js) sed -i -e "1s|^#!/usr/bin/node|#!$NODE|" "$DESTDIR$2.new" ;;
    esac
    mv -f "$DESTDIR$2.new" "$DESTDIR$2"
  fi
  echo "$2" >>"$put"
}

place_of() {
  case $1 in
    lib/systemd/*|lib/sysusers.d/*|lib/tmpfiles.d/*) echo "$system/${1#lib/}" ;;
    *) echo "$PREFIX/$1" ;;
  esac
}

put_files() {
  for file in $(cd "$here/prefix" && find . ! -type d | sed 's|^\./||' | sort); do
    put "$here/prefix/$file" "$(place_of "$file")"
  done
  for file in install.sh purge-owned.pl arch; do put "$here/$file" "$lib/$file"; done
  put "$here/etc/iproute2/rt_protos.d/mnm.conf" /etc/iproute2/rt_protos.d/mnm.conf
  # The administrator's from now on: neither replaced nor, without --purge, removed.
  if [ ! -e "$DESTDIR/etc/mnm/mnm.yaml" ]; then
    make_folder /etc/mnm
    install -m 644 "$here/etc/mnm/mnm.yaml" "$DESTDIR/etc/mnm/mnm.yaml"
  fi
}

# Removes what an older version had and this one has not, and writes down what there is now.
remember() {
  manifest=$DESTDIR$lib/installed-files
  printf '%s\n' "$lib/installed-files" "$lib/installed-folders" >>"$put"
  if [ -f "$manifest" ]; then
    for file in $(cat "$manifest"); do
      grep -qxF "$file" "$put" || rm -f "$DESTDIR$file"
    done
    cat "$DESTDIR$lib/installed-folders" >>"$made"
  fi
  sort -u "$put" >"$manifest"
  sort -u "$made" >"$DESTDIR$lib/installed-folders"
}

make_users() {
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers "$system/sysusers.d/mnm.conf"
    return
  fi
  getent group mnm-admin >/dev/null || groupadd -r mnm-admin
  for user in mnm mnm-helper; do
    id "$user" >/dev/null 2>&1 || useradd -r -U -M -d / -s /usr/sbin/nologin "$user"
  done
}

install_all() {
  [ -d "$here/prefix" ] || fail "this copy only removes; run the one from the tarball"
  [ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || fail "only root can install"
  PREFIX=${PREFIX:-/usr/local}
  case $PREFIX in /*) ;; *) fail "PREFIX must begin with /, not be $PREFIX" ;; esac
  lib=$PREFIX/lib/mnm
  # Where systemd looks, whatever the prefix.
  case $PREFIX in
    /usr|/usr/local) system=$PREFIX/lib ;;
    *) system=/etc ;;
  esac
  check_node
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  put=$scratch/files made=$scratch/folders
  : >"$put"
  : >"$made"
  mkdir -p "$DESTDIR/"
  is_upgrade=
  [ ! -f "$DESTDIR$lib/installed-files" ] || is_upgrade=1
  put_files
  remember
  [ -z "$DESTDIR" ] || return 0
  make_users
  "$lib/write-code-cache" "$NODE" || echo "install.sh: no code caches written" >&2
  if ! is_running_system; then
    echo "Installed. Without systemd: mnm-helper(8) and mnm-controller(8) say how to start them."
  elif [ -n "$is_upgrade" ]; then
    "$lib/restart-keeping-uplinks" systemctl try-restart
  else
    systemctl daemon-reload
    echo "Installed. Name your links in /etc/mnm/mnm.yaml, then:"
    echo "  systemctl enable --now mnm-helper.socket mnm-controller.service"
  fi
}

case ${1:-} in
  "") install_all ;;
  --uninstall|--purge) uninstall "$1" ;;
  *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
