#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two rails, each an interface with an RDMA device on it. Of two hosts, each
# rail is a cable from one to the other; one host alone has the two ends of a
# veth, and what it sends itself never touches them. Starts few programs: each
# costs a tenth of a second here.
set -euo pipefail

# Duplicate address detection would keep IPv6 addresses from use for a second.
for who in all default; do
	echo 0 >/proc/sys/net/ipv6/conf/$who/accept_dad
done
echo "host$KVR_HOST" >/proc/sys/kernel/hostname
printf '127.0.0.1 localhost\n10.71.1.1 host1\n10.71.1.2 host2\n' >/etc/hosts

# machine.py gives cable N of a guest the address 52:54:00:71:0N:...
name_rails() {
	local link address
	if [ "$KVR_HOSTS" = 1 ]; then
		echo link add rail1 mtu 4200 type veth peer name rail2 mtu 4200
		return
	fi
	for link in /sys/class/net/*; do
		address=$(<"$link/address")
		case $address in
		52:54:00:71:*) echo link set "${link##*/}" name \
			"rail${address:13:1}" ;;
		esac
	done
}

{
	echo link set lo up
	name_rails
	for rail in 1 2; do
		echo link set "rail$rail" up
		echo address add "10.71.$rail.$KVR_HOST/24" dev "rail$rail"
		echo address add "fd71:$rail::$KVR_HOST/64" dev "rail$rail" \
			nodad
	done
} | ip -batch -
printf 'link add rxe0 type rxe netdev rail1
link add rxe1 type rxe netdev rail2\n' | rdma -b -
