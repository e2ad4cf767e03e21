#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds for aarch64 with Debian's cross compiler and runs unit tests under
# qemu-user. Not part of scripts/test.sh, for emulation takes minutes.
#	scripts/aarch64.sh [CTEST ARGUMENT...]		such as -L unit
#
# Needs gcc-aarch64-linux-gnu and qemu-user. The libraries that kvring links
# are fetched with apt-get into ~/.cache/kvring (or $XDG_CACHE_HOME/kvring),
# by lists of their own: nothing of this machine's packages changes.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in aarch64-linux-gnu-gcc qemu-aarch64 apt-get dpkg; do
	command -v $tool >/dev/null || {
		echo "no $tool: apt-get install gcc-aarch64-linux-gnu" \
			"libc6-dev-arm64-cross qemu-user"
		exit 77
	}
done
packages=(libcmocka-dev libcmocka0 libjansson-dev libjansson4 libssl-dev
	libssl3 libibverbs-dev libibverbs1 librdmacm-dev librdmacm1
	libnl-3-200 libnl-route-3-200)
home=${XDG_CACHE_HOME:-$HOME/.cache}/kvring/aarch64
build=build/aarch64

# What is made last stands for all of it.
fetch() {
	local state=$home/apt option
	[ ! -d "$home/root" ] || return 0
	rm -rf "$home"
	mkdir -p "$state"/{lists/partial,archives/partial} "$home/packages"
	option=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64
		-o "Dir::State=$state" -o Dir::State::status=/dev/null
		-o "Dir::Cache=$state" -o Dir::Cache::pkgcache=
		-o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
	apt-get "${option[@]}" update
	(cd "$home/packages" &&
		apt-get "${option[@]}" download "${packages[@]}")
	for package in "$home"/packages/*.deb; do
		dpkg -x "$package" "$home/unpacked"
	done
	rm -rf "$state" "$home/packages"
	mv "$home/unpacked" "$home/root"
}

# The programs of the tests that were asked for.
programs() {
	ctest --test-dir $build -N "$@" |
		sed -n 's/^ *Test *#[0-9]*: //p' | sort >$build/wanted
	ninja -C $build -t targets all | sed -n 's/: phony$//p' |
		sort >$build/known
	comm -12 $build/wanted $build/known
}

[ $# -gt 0 ] || set -- -L '^unit$'
fetch
cmake -S . -B $build -G Ninja --toolchain cmake/aarch64.cmake \
	"-DKVRING_SYSROOT=$home/root" -DKVRING_TESTS=ON -DKVRING_BENCH=OFF \
	>/dev/null
mapfile -t names < <(programs "$@")
ninja -C $build kvring kvring_command model_schedules "${names[@]}" \
	>$build/build.log || {
	tail -n 40 $build/build.log
	exit 1
}
ctest --test-dir $build -j "$(nproc)" --output-on-failure "$@"
