#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a command finds in a guest that is alone. Exits 7 when all is well.
set -euo pipefail

check() { # what, command...
	local what=$1
	shift
	"$@" || {
		echo "FAILED: $what" >&2
		exit 1
	}
	echo "ok: $what"
}

same() { # have, want
	[ "$1" = "$2" ] || {
		echo "'$1' is not '$2'" >&2
		return 1
	}
}

check "arguments" same "$#:$1:$2" "2:an  argument:"
check "directory" same "$(cat mark)" here
check "writes" eval 'echo x >written && [ -s written ]'
check "no input" same "$(cat)" ""
check "variables passed" same "$KVR_WORDS" 'two  words'
check "variables left out" same "${OTHER-unset}" unset
check "host" same "$KVR_HOST of $KVR_HOSTS at $KVR_ADDRESS_1" \
	"1 of 1 at 10.71.1.1"
check "rails" same "$KVR_RAIL_1 $KVR_RAIL_2" "10.71.1.1 10.71.2.1"
check "no second host" same "${KVR_ADDRESS_2-unset}" unset
check "home" same "$HOME $(id -u)" "/root 0"
check "memlock" same "$(ulimit -l)" unlimited
check "processors" same "$(nproc)" 2
check "our binaries" eval '"$KVRING_BUILD/kvring" info | grep -q memlock'
check "no cable" eval '! cable pull 2>/run/no-cable &&
	grep -q "use --hosts 2" /run/no-cable'
check "devices" same "$(ibv_devices | awk '/rxe/ { print $1 }' | xargs)" \
	"rxe0 rxe1"
check "links" same "$(rdma link | grep -c 'state ACTIVE')" 2
check "path MTU" eval 'ibv_devinfo -d rxe1 | grep -q "active_mtu:.*4096"'
for gid in 'fe80:.*' '::ffff:10\.71\.2\.1' 'fd71:2::1'; do
	check "GID $gid" eval "ibv_devinfo -v -d rxe1 | grep -qi 'GID\[.*$gid'"
done

for rail in 1 2; do
	address=KVR_RAIL_$rail
	test=(ib_write_bw -R -d "rxe$((rail - 1))" -s 65536 -n 100 -u 18)
	"${test[@]}" >/run/server 2>&1 &
	until rdma resource show cm_id | grep -q LISTEN; do
		sleep 0.1
	done
	check "ib_write_bw rail $rail" "${test[@]}" "${!address}" >/run/client ||
		cat /run/client >&2
	grep -E '^ok|^ 65536' /run/client
	check "its server" wait $!
done

echo 'to stdout'
echo 'to stderr' >/dev/stderr
exit 7
