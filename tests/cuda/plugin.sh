#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The built plug-in as a machine meets it that has no GPU, by `kvring info`:
# the real CUDA runtime before no driver, and before one made to fail.
#	plugin.sh KVRING PLUGIN DIRECTORY-OF-FAKE-DRIVER
set -uo pipefail
kvring=$1 plugin=$2 fake=$3
failed=0
export KVRING_CUDA_PLUGIN=$plugin

wrong() {
	echo "FAILED: $*"
	failed=1
}

# what status words-of-the-reason [variable=value...]
expect() {
	local what=$1 status=$2 says=$3 line
	shift 3
	line=$(env "$@" "$kvring" info | grep '^gpu ') || wrong "$what: no line"
	echo "$what: $line"
	[[ $line == *"not usable"*"$says"*"($status)" ]] ||
		wrong "$what: wanted $status and '$says'"
	env "$@" "$kvring" info --json | tr -d '\n' | grep -q \
		"\"gpus\": { *\"status\": \"$status\", *\"usable\": false," ||
		wrong "$what: JSON says other"
}

# Nothing of CUDA is needed to load it, nothing but its table is visible, and
# no path of the machine that built it.
needed=$(readelf -dW "$plugin" | grep -E 'NEEDED|RPATH|RUNPATH')
echo "$needed"
! grep -Eq 'libcu|PATH' <<<"$needed" || wrong "it needs more than a libc"
visible=$(nm -D --defined-only "$plugin" | awk '{ print $3 }')
[ "$visible" = kvr_accelerator_plugin ] || wrong "visible: $visible"

if ldconfig -p | grep -q 'libcuda\.so\.1 '; then
	echo "there is a driver here: its absence cannot be shown"
else
	expect "no driver" KVR_ERR_NO_DRIVER "libcuda.so.1 does not load"
fi
path=LD_LIBRARY_PATH=$fake
expect "stub" KVR_ERR_DRIVER_STUB "stub" "$path" KVR_FAKE_INIT=34
expect "old" KVR_ERR_DRIVER_OLD "for CUDA 11.8" "$path" KVR_FAKE_VERSION=11080
expect "no GPU" KVR_ERR_NO_GPU "CUDA_VISIBLE_DEVICES" "$path" \
	KVR_FAKE_INIT=100
expect "mismatch" KVR_ERR_DEVICE "reboot" "$path" KVR_FAKE_INIT=803
expect "none asked for" KVR_ERR_UNSUPPORTED "is empty" KVRING_CUDA_PLUGIN=

# The toolkit's own stub, where it is.
stub=$(find "${CUDA_STUBS:-/nonexistent}" -name libcuda.so 2>/dev/null | head -n 1)
if [ -n "$stub" ]; then
	directory=$(mktemp -d)
	trap 'rm -rf "$directory"' EXIT
	ln -s "$stub" "$directory/libcuda.so.1"
	expect "the toolkit's stub" KVR_ERR_DRIVER_STUB "stubs directory" \
		"LD_LIBRARY_PATH=$directory"
fi
exit $failed
