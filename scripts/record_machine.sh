#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Prints what `kvring doctor` reads of this machine, as text, for a bug report
# or a test (tests/support/machine.h has the format). It holds addresses of
# the network; look before you send it.
#	scripts/record_machine.sh >machine.tree
set -euo pipefail
export LC_ALL=C
shopt -s nullglob
declare -A seen

once() { # key: the first time?
	[ -z "${seen[$1]:-}" ] || return 1
	seen[$1]=1
}

# Some files of sysfs cannot be read, which says that there is nothing.
file() { # path...
	local path text line
	for path in "$@"; do
		[ -f "$path" ] || continue
		once "$path" || continue
		{ mapfile -t text <"$path"; } 2>/dev/null || continue
		for line in "${text[@]}"; do
			[ -z "$line" ] || printf '%s: %s\n' "$path" "$line"
		done
	done
}

link() { # path, and the directory it leads to
	[ -L "$1" ] && once "$1" || return 0
	local real
	real=$(readlink -f "$1")
	printf '%s -> %s\n' "$1" "$(readlink "$1")"
	! once "$real/" || printf '%s/\n' "$real"
}

node() { # of /dev: what opening it gives
	local why
	[ -c "$1" ] || return 0
	if why=$({ : <>"$1"; } 2>&1); then
		why=opens
	else
		case "$why" in
		*"Permission denied") why=EACCES ;;
		*"Operation not permitted") why=EPERM ;;
		*"No such device or address") why=ENXIO ;;
		*"No such device") why=ENODEV ;;
		*) why="${why##*: }" ;;
		esac
	fi
	printf '%s: %s\n' "$1" "$why"
}

pci() { # real path of a device
	[ -f "$1/vendor" ] || return 0
	link "/sys/bus/pci/devices/${1##*/}"
	file "$1"/{vendor,class,numa_node}
	link "$1/driver"
	link "$1/iommu_group"
	[ ! -L "$1/iommu_group" ] ||
		file "$(readlink -f "$1/iommu_group")/type"
}

port() { # real path
	local gid text index
	file "$1"/{state,phys_state,link_layer,rate,lid,sm_lid}
	for gid in "$1"/gids/*; do
		index=${gid##*/}
		read -r text <"$gid" || continue
		[[ $text =~ [^0:] ]] || continue
		file "$gid" "$1/gid_attrs/types/$index" \
			"$1/gid_attrs/ndevs/$index"
	done
}

device() { # of /sys/class/infiniband
	local real
	real=$(readlink -f "$1")
	link "$1"
	file "$real"/{node_type,fw_ver,board_id,parent}
	link "$real/device"
	[ ! -L "$real/device" ] || pci "$(readlink -f "$real/device")"
	local port
	for port in "$real"/ports/*; do
		port "$port"
	done
}

lines() { # path, pattern
	grep -h "$2" "$1" | sed "s|^|$1: |" || true
}

lines /proc/self/limits "^Max locked memory"
lines /proc/self/status ^CapEff:
lines /proc/self/cgroup ^0::
lines /proc/meminfo ^MemAvailable:
# Of a command line, which may hold anything, what is about IOMMUs.
printf '/proc/cmdline: quiet%s\n' \
	"$(tr ' ' '\n' </proc/cmdline | grep iommu | sed 's/^/ /' | tr -d '\n')"
file /proc/self/uid_map /proc/sys/vm/memfd_noexec
while IFS=: read -r number _ group; do
	[ "$number" = 0 ] || continue
	while file "/sys/fs/cgroup$group/memory.max" && [ -n "$group" ]; do
		group=${group%/*}
	done
done </proc/self/cgroup

for module in nvidia_peermem nv_peer_mem ib_uverbs rdma_ucm; do
	[ ! -d /sys/module/$module ] || printf '%s\n' "/sys/module/$module/"
done
printf '/sys/\n'
[ ! -d /sys/class/infiniband_verbs ] || printf '/sys/class/infiniband_verbs/\n'
[ ! -e /sys/class/misc/rdma_cm ] || printf '/sys/class/misc/rdma_cm/\n'
for name in /sys/class/infiniband/*; do
	device "$name"
done
for name in /sys/class/infiniband_verbs/uverbs*; do
	link "$name"
	file "$(readlink -f "$name")/ibdev"
done
for name in /sys/class/net/*; do
	[ -L "$name" ] || continue
	link "$name"
	file "$(readlink -f "$name")"/{mtu,operstate,type,dev_port}
done
for name in /sys/bus/pci/devices/*; do
	read -r class <"$name/class"
	read -r vendor <"$name/vendor"
	case "$vendor $class" in
	*" 0x02"* | "0x10de 0x03"*) pci "$(readlink -f "$name")" ;;
	esac
done
for name in /sys/kernel/iommu_groups/*; do
	printf '%s/\n' "$name"
done
for name in /dev/infiniband/{rdma_cm,uverbs*}; do
	node "$name"
done
