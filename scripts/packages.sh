#!/bin/bash
# Installs the Debian packages that the tests need, and those named. Without root it says which are missing, and fails.
set -euo pipefail
needed=(
  dnsmasq-base iproute2 nftables iputils-ping libcap-ng-utils libcap2-bin util-linux systemd systemd-container python3-minimal
  python3-seccomp faketime tcpdump zsh fish isc-dhcp-server isc-dhcp-relay kea-dhcp4-server
)
needed+=("$@")
# Installing these also enables them, for this machine's own network. The tests want only the programs.
services=(isc-dhcp-server isc-dhcp-relay kea-dhcp4-server)
policy=/usr/sbin/policy-rc.d

is_installed() {
  dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -q '^installed$'
}

missing=()
for package in "${needed[@]}"; do
  is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "The tests need Debian packages that are missing: ${missing[*]}" >&2
  echo "Install them: sudo scripts/packages.sh" >&2
  exit 1
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
if [ ! -e "$policy" ]; then
  # Asked by maintainer scripts before they start a service; 101 is "no".
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
for service in "${services[@]}"; do
  # Only what came just now: a server that was here before is somebody's.
  [[ " ${missing[*]} " == *" $service "* ]] && update-rc.d "$service" disable 2>/dev/null
done
exit 0
