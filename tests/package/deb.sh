#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Debian packages, made by CPack and unpacked into a directory: what they
# hold and want, and the command runs from there.
# shellcheck source=tests/package/lib.bash
. "$KVRING_SOURCE/tests/package/lib.bash" || exit 1
needs dpkg-deb dpkg-shlibdeps cpack ninja

build=$KVRING_BUILD/deb
generator=()
[ -f "$build/CMakeCache.txt" ] || generator=(-G Ninja)
cmake -S "$KVRING_SOURCE" --preset deb -B "$build" "${generator[@]}" >/dev/null
cmake --build "$build" >log 2>&1 || {
	cat log
	die "the build for Debian"
}
cpack --config "$build/CPackConfig.cmake" -B "$work/packed" >log 2>&1 || {
	cat log
	die "cpack"
}
mkdir -p only all
for deb in packed/*.deb; do
	name=$(dpkg-deb -f "$deb" Package)
	dpkg-deb -x "$deb" "only/$name"
	dpkg-deb -x "$deb" all
	[ -f "only/$name/usr/share/doc/$name/copyright" ] ||
		die "$name: no copyright"
	for log in changelog changelog.Debian; do
		gzip -t "only/$name/usr/share/doc/$name/$log.gz"
	done
	[ -z "$(find "only/$name" -perm /022 ! -type l)" ] ||
		die "$name: others may write"
done
wanted="kvring libkvring-dev libkvring0 "
[ ! -f "$build/libkvring_cuda.so" ] ||
	wanted="kvring libkvring-cuda libkvring-dev libkvring0 "
[ "$(ls only | tr '\n' ' ')" = "$wanted" ] ||
	die "packages: $(ls only)"

depends() { # package, pattern...
	local has pattern package=$1
	has=$(dpkg-deb -f packed/"$package"_*.deb Depends)
	shift
	for pattern; do
		grep -qE "(^|, )$pattern" <<<"$has" ||
			die "$package depends on $has, not on $pattern"
	done
}
version=$(dpkg-deb -f packed/libkvring0_*.deb Version)
depends libkvring0 'libc6 \(>= '
depends libkvring-dev "libkvring0 \(= $version\)"
depends kvring "libkvring0 \(= $version\)" 'libjansson4 '
if nm -D "$build/libkvring.so" | grep -q ' U ibv_'; then
	depends libkvring0 libibverbs1 librdmacm1 libssl3
	depends libkvring-dev libibverbs-dev librdmacm-dev libssl-dev
fi
if [ -d only/libkvring-cuda ]; then
	depends libkvring-cuda "libkvring0 \(= $version\)" 'libc6 \(>= '
fi
dpkg-deb -I packed/libkvring0_*.deb shlibs |
	grep -q '^libkvring 0 libkvring0 (>= ' || die "shlibs"
dpkg-deb -I packed/libkvring0_*.deb triggers | grep -q ldconfig ||
	die "triggers"

# Each file in the package where it belongs, each in one only.
lib=$(cd all && find usr/lib -name libkvring.so.0 -printf '%h')
[ "$lib" = "usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)" ] ||
	die "libraries in $lib"
ls only/libkvring0/"$lib"/libkvring.so.0 \
	only/libkvring-dev/"$lib"/{libkvring.so,libkvring.a} \
	only/libkvring-dev/usr/share/man/man3/kvr_ring_open.3.gz \
	only/kvring/usr/share/man/man1/kvring-attention.1.gz \
	only/kvring/usr/share/bash-completion/completions/kvring >/dev/null
twice=$(cd only && find . ! -type d -printf '%P\n' | cut -d/ -f2- |
	sort | uniq -d)
[ -z "$twice" ] || die "in two packages: $twice"
check_paths "$work/all/usr"
if readelf -d all/usr/bin/kvring all/usr/libexec/kvring/kvring-bench |
	grep -E 'RPATH|RUNPATH'; then
	die "a search path for libraries"
fi
if readelf -S "all/$lib/libkvring.so" | grep -q '\.debug_info'; then
	die "not stripped"
fi

[ ! -d only/libkvring-cuda ] || ls "only/libkvring-cuda/$lib/libkvring_cuda.so"

export LD_LIBRARY_PATH=$work/all/$lib
kvring=$work/all/usr/bin/kvring
"$kvring" --version
"$kvring" bench --version
"$kvring" random in.safetensors --tokens 200 --q-heads 2 --kv-heads 1 \
	--head-dim 16 --dtype f32 --seed 1 >/dev/null
"$kvring" attention in.safetensors -o out.safetensors -n 2 --causal \
	--verify >said || die "attention: $(cat said)"
grep -qx verified said || die "attention: $(cat said)"

# The packages' files as a prefix, for a program that uses the library.
eval "flags=($(pkg "$work/all/usr" --cflags --libs))"
cc -std=c11 "${warnings[@]}" "$here/ring.c" "${flags[@]}" -lm -o ring_c
check_ring "$work/all/usr" ./ring_c
