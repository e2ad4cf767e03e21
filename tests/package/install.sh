#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installed into a staging directory under a prefix with spaces, then moved:
# programs in C and C++ find it there by CMake and by pkg-config, and run.
# shellcheck source=tests/package/lib.bash
. "$KVRING_SOURCE/tests/package/lib.bash" || exit 1
needs pkg-config cmake ninja cc c++ readelf ldd

install_once() {
	DESTDIR="$work/stage it" cmake --install "$KVRING_BUILD" \
		--prefix "/opt/kv ring" >/dev/null
}
listing() { # directory
	(cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2)
}

install_once
listing "$work/stage it" >first
install_once
listing "$work/stage it" | diff first - || die "a second install differs"
[ "$(ls "$work/stage it")" = opt ] || die "outside the prefix: $(ls "$work")"
cp "$KVRING_BUILD/install_manifest.txt" manifest
cp -a "$work/stage it" removed
mv "$work/stage it/opt/kv ring" "$work/moved here"
prefix="$work/moved here"

check_headers "$prefix"
check_paths "$prefix"
check_soname "$prefix"
check_pkg_config "$prefix"
check_cmake "$prefix" kvring ""
check_cmake "$prefix" static "shared;static"
"$prefix/bin/kvring" bench --version

# Taken away by the list that the installation left, nothing stays.
while IFS= read -r file || [ -n "$file" ]; do
	rm "removed$file" || die "$file is listed, not installed"
done <manifest
left=$(find removed ! -type d)
[ -z "$left" ] || die "left behind: $left"
echo "ok: installed, moved, used and removed"

# Mistakes that the checks above are for.
planted() { # what, check, command...
	local what=$1 check=$2
	shift 2
	rm -rf "$work/planted" && cp -a "$prefix" "$work/planted"
	(cd "$work/planted" && "$@")
	if (cd "$work" && $check "$work/planted") >planted.log 2>&1; then
		die "missed: $what"
	fi
	grep -q '^FAILED: ' planted.log || die "no reason: $(cat planted.log)"
	echo "caught: $what: $(grep '^FAILED' planted.log)"
}
check_cmake_planted() { # prefix
	rm -rf by-cmake-kvring
	check_cmake "$1" kvring ""
}
lib=$(basename "$(libdir_of "$prefix")")
planted "a header is not installed" check_headers rm include/kvring/device.h
planted "pkg-config has the wrong directory of headers" check_pkg_config \
	sed -i 's|}/include|}/includes|' "$lib/pkgconfig/kvring.pc"
planted "pkg-config has no private libraries" check_pkg_config \
	sed -i '/private/d' "$lib/pkgconfig/kvring.pc"
planted "the CMake package has the wrong directory of headers" \
	check_cmake_planted \
	sed -i 's|}/include|}/includes|' "$lib/cmake/kvring/kvringShared.cmake"
planted "a path of the building machine" check_paths \
	sed -i "1i # $KVRING_BUILD" "$lib/cmake/kvring/kvringShared.cmake"
planted "a function is declared and not exported" check_pkg_config \
	sed -i 's/KVR_API uint32_t kvr_abi_version(void);/&\
KVR_API uint32_t kvr_not_there(void);/' include/kvring/status.h
