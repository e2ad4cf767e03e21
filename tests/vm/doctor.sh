#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kvring doctor on real RDMA devices: to be run in one guest, which has rxe0
# and rxe1. First all is well; then one thing after the other is broken, and
# must be found.
#	tests/vm/run -- bash tests/vm/doctor.sh
# shellcheck source=tests/cli/lib.bash
. "$KVRING_SOURCE/tests/cli/lib.bash" || exit 1

unset KVRING_DEVICE KVRING_GID_INDEX
rail1=$(cat /sys/class/infiniband/rxe0/parent)
nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups
	--bounding-set=-all --inh-caps=-all)
chmod 755 .

examine() { # code, [command that starts it]...
	local status=0 code=$1
	shift
	timeout 60 "$@" "$kvring" doctor >.out 2>&1 || status=$?
	[ "$status" -eq "$code" ] || die "exit $status, not $code: $(cat .out)"
	echo "ok: exit $code: $(tail -n 1 .out)"
}

finds() { # level, subject, check, message, [remedy]
	grep -A1 -E "^$1 +$2 +$3 " .out >.found ||
		die "no $1 of $3 about $2: $(cat .out)"
	grep -qF -- "$4" .found || die "not '$4': $(cat .found)"
	[ -z "${5:-}" ] || grep -qF -- "remedy: $5" .found ||
		die "not the remedy '$5': $(cat .found)"
	echo "ok: $(head -n 1 .found)"
}

# As the guest comes: nothing fatal, and what verbs says is there.
examine 0
finds good rxe0 uverbs "/dev/infiniband/uverbs0 opens"
finds good rxe0 verbs "libibverbs opens it"
finds good rxe0 dmabuf "through dma-buf: no"
finds good rxe0:1 port.state "active, Ethernet (RoCE)"
finds good rxe0:1 port.mtu "path MTU 4096"
finds good rxe0:1 port.gid "RoCE v2, $KVR_RAIL_1, $rail1"
finds good rxe1:1 port.gid "RoCE v2, $KVR_RAIL_2"
finds good machine rdma_cm "opens"
finds good machine memlock "locked memory"
finds good machine rdma "2 of 2"
"$kvring" doctor --json >json
python3 - "$KVR_RAIL_1" <<'END'
import json, sys
with open("json") as file:
    root = json.load(file)
devices = {d["name"]: d for d in root["devices"]}
for name in "rxe0", "rxe1":
    assert devices[name]["usable"] and devices[name]["dmabuf"] is False
    port, = devices[name]["ports"]
    assert port["active_mtu"] == 4096, port
chosen, = [g for g in devices["rxe0"]["ports"][0]["gids"] if g["chosen"]]
assert chosen["address"] == sys.argv[1], chosen
assert (chosen["type"], chosen["kind"]) == ("RoCE v2", "IPv4")
END
KVRING_DEVICE=rxe1 examine 0
KVRING_DEVICE=rxe7 examine 1
finds fatal KVRING_DEVICE environment "no device 'rxe7'" "name one"

# Ports are down. The two are the ends of one cable: what is set down at one
# end has lost its link at the other.
ip link set "$rail1" down
examine 1
finds fatal rxe0:1 port.state "physical state Disabled" \
	"ip link set $rail1 up"
finds fatal rxe1:1 port.state "physical state Polling" "check cable"
finds fatal machine rdma "no RDMA device can be used"
ip link set "$rail1" up
active() {
	"$kvring" doctor | grep -qE "^good +rxe0:1 +port.gid .*$KVR_RAIL_1" &&
		"$kvring" doctor | grep -qE "^good +rxe1:1 +port.gid"
}
eventually active

# The default MTU of Ethernet.
ip link set "$rail1" mtu 1500
examine 0
finds warning rxe0:1 port.mtu "path MTU 1024 of 4096" "ip link set $rail1 mtu"
ip link set "$rail1" mtu 4200

# Nothing but the link-local address.
ip address flush dev "$rail1" scope global
gone() {
	! grep -qF "$KVR_RAIL_1" /proc/net/fib_trie
}
eventually gone
examine 0
finds warning rxe0:1 port.gid "link-local" "give $rail1 an IPv4 address"

# A user without rights.
chmod 666 /dev/infiniband/*
examine 0 "${nobody[@]}"
finds good rxe1 uverbs "uverbs1 opens"
chmod 600 /dev/infiniband/uverbs1
examine 0 "${nobody[@]}"
finds warning rxe1 uverbs "Permission denied" "udev rule"
finds good machine rdma "1 of 2"
KVRING_DEVICE=rxe1 examine 1 "${nobody[@]}"
finds fatal rxe1 uverbs "Permission denied" "udev rule"
chmod 600 /dev/infiniband/uverbs*
examine 1 "${nobody[@]}"
finds fatal rxe1 uverbs "Permission denied" "udev rule"
chmod 666 /dev/infiniband/uverbs*
chmod 600 /dev/infiniband/rdma_cm
examine 0 "${nobody[@]}"
finds warning machine rdma_cm "Permission denied" "allow it"
chmod 666 /dev/infiniband/rdma_cm

# Too little locked memory; root passes over it.
ulimit -S -l 64
examine 0
finds good machine memlock "CAP_IPC_LOCK passes over"
examine 1 "${nobody[@]}"
finds fatal machine memlock "64.0 KiB (hard limit unlimited)" \
	"ulimit -l unlimited"
ulimit -H -l 64
examine 1 "${nobody[@]}"
finds fatal machine memlock "64.0 KiB (hard limit 64.0 KiB)" \
	"'* - memlock unlimited'"

# No user-space driver.
mkdir empty
mount --bind empty /etc/libibverbs.d
examine 1
finds fatal rxe0 verbs "libibverbs does not list it" "install the user-space"
umount /etc/libibverbs.d
echo "ok: doctor in the guest"
