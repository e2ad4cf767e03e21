#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, on Debian 12/13 and Ubuntu 22.04/24.04.
#	scripts/setup.sh build	what building and running needs
#	scripts/setup.sh test	that, and what scripts/test.sh needs
# Needs root or sudo only when something is missing.
set -euo pipefail

build=(gcc libc6-dev cmake ninja-build libjansson-dev libssl-dev libibverbs-dev
	librdmacm-dev ibverbs-providers)
test=(g++ binutils git python3 libcmocka-dev spin clang libclang-rt-dev
	valgrind clang-format clang-tidy
	cppcheck shellcheck qemu-system-x86 busybox-static kmod cpio iproute2
	rdma-core ibverbs-utils rdmacm-utils perftest)

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

missing=()
for package in "${wanted[@]}"; do
	installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

root=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "setup: not root and no sudo; as root run:" >&2
		echo "	apt-get install ${missing[*]}" >&2
		exit 1
	fi
	root=(sudo)
fi

echo "setup: installing ${missing[*]}"
apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y
	-o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends \
	"${missing[@]}"; } </dev/null >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "setup: apt-get could not install ${missing[*]}" >&2
	exit 1
fi
