#!/bin/sh
# dhcpcd's hook: beside what dhcpcd installs in main, a table and rules for each link.
number=${interface#wan}
table=$((10001 + number))
forget() { while ip rule del table $table 2>/dev/null; do :; done; }
case $reason in
BOUND | REBOOT | REBIND)
  prefix=$new_network_number/$new_subnet_cidr
  router=${new_routers%% *}
  forget
  ip -force -b - <<EOF
route replace $prefix dev $interface src $new_ip_address table $table
route replace default via $router dev $interface src $new_ip_address table $table
rule add prio 10000 from $new_ip_address table $table
rule add prio 20000 to $prefix table $table
rule add prio $((91001 + number)) iif lo table $table
EOF
  ;;
EXPIRE | NOCARRIER | STOP | STOPPED | DEPARTED | RELEASE | FAIL | NAK) forget ;;
esac
exit 0
