#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, on Debian 12/13 and Ubuntu 22.04/24.04.
#	scripts/setup.sh build	what building and running needs
#	scripts/setup.sh test	that, and what scripts/test.sh needs
# Needs root or sudo only when something is missing.
set -euo pipefail

build=(gcc libc6-dev cmake ninja-build python3 libjansson-dev libssl-dev
	libibverbs-dev librdmacm-dev ibverbs-providers libpmix-dev)
test=(g++ binutils git libcmocka-dev spin clang clang-format clang-tidy
	cppcheck shellcheck openmpi-bin libopenmpi-dev munge slurm-wlm
	qemu-system-x86 busybox-static kmod cpio iproute2 rdma-core
	ibverbs-utils rdmacm-utils perftest valgrind abigail-tools dpkg-dev
	pkgconf groff-base mandoc)
# The fuzzer's runtime, where it is not in clang itself.
where_known=(libclang-rt-dev)

case "${1:-}" in
build) wanted=("${build[@]}") ;;
test) wanted=("${build[@]}" "${test[@]}") ;;
*)
	echo "usage: scripts/setup.sh build|test" >&2
	exit 2
	;;
esac

if ! command -v dpkg-query >/dev/null; then
	echo "setup: no dpkg here; install by hand: ${wanted[*]}" >&2
	exit 0
fi

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = \
		installed ]
}

# Known to apt, whose lists may have to be fetched first.
known() {
	[ -n "$(apt-cache madison "$1" 2>/dev/null)" ]
}

root=()
become_root() { # for the packages...
	[ "$(id -u)" -ne 0 ] || return 0
	if ! command -v sudo >/dev/null; then
		echo "setup: not root and no sudo; as root run:" >&2
		echo "	apt-get install $*" >&2
		exit 1
	fi
	root=(sudo)
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

apt_get() { # what for, argument...
	local what=$1
	shift
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
		-o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" \
		</dev/null >"$log" 2>&1 && return
	tail -n 20 "$log" >&2
	echo "setup: apt-get could not $what" >&2
	exit 1
}

updated=no
install_missing() { # package...
	local package missing=()
	for package; do
		installed "$package" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	become_root "${missing[@]}"
	echo "setup: installing ${missing[*]}"
	[ $updated = yes ] || apt_get "update its lists" update
	updated=yes
	apt_get "install ${missing[*]}" install --no-install-recommends \
		"${missing[@]}"
}

install_missing "${wanted[@]}"
[ "$1" = test ] || exit 0
for package in "${where_known[@]}"; do
	installed "$package" || ! known "$package" || install_missing "$package"
done
