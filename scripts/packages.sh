#!/bin/bash
# Installs the Debian packages that the tests need. Without root it says which are missing, and fails.
set -euo pipefail
needed=(dnsmasq-base iproute2 nftables iputils-ping libcap-ng-utils util-linux systemd python3-minimal)
missing=()
for package in "${needed[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed$' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "The tests need Debian packages that are missing: ${missing[*]}" >&2
  echo "Install them: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
