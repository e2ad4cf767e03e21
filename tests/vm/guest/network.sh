#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two rails, each an interface with an RDMA device on it. Of two hosts, each
# rail is a cable from one to the other; one host alone has the two ends of a
# veth, and what it sends itself never touches them.
set -euo pipefail

# Duplicate address detection would keep IPv6 addresses from use for a second.
sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
hostname "host$KVR_HOST"
ip link set lo up

if [ "$KVR_HOSTS" = 1 ]; then
	ip link add rail1 mtu 4200 type veth peer name rail2 mtu 4200
else
	for rail in 1 2; do
		for link in /sys/class/net/*; do
			case $(cat "$link/address") in
			52:54:00:71:0$rail:*)
				ip link set "${link##*/}" name "rail$rail"
				;;
			esac
		done
	done
fi
for rail in 1 2; do
	ip link set "rail$rail" up
	ip address add "10.71.$rail.$KVR_HOST/24" dev "rail$rail"
	ip address add "fd71:$rail::$KVR_HOST/64" dev "rail$rail" nodad
	rdma link add "rxe$((rail - 1))" type rxe netdev "rail$rail"
done
printf '127.0.0.1 localhost\n10.71.1.1 host1\n10.71.1.2 host2\n' >/etc/hosts
