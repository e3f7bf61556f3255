#!/bin/sh
# udhcpc's script: address, table and rules of one link in one run of ip.
number=${interface#wan}
table=$((10001 + number))
case $1 in
bound)
  prefix=${ip%.*}.0/24
  ip -force -b - <<EOF
addr replace $ip/24 dev $interface noprefixroute
route replace $prefix dev $interface src $ip table $table
route replace default via ${router%% *} dev $interface src $ip table $table
rule add prio 10000 from $ip table $table
rule add prio 20000 to $prefix table $table
rule add prio $((91001 + number)) iif lo table $table
EOF
  ;;
deconfig)
  ip link set $interface up
  ip -4 addr flush dev $interface
  while ip rule del table $table 2>/dev/null; do :; done
  ;;
esac
exit 0
