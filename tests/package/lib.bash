# SPDX-License-Identifier: Apache-2.0
# For the tests of what is installed: is a tree all that a program needs?
# shellcheck shell=bash disable=SC2034
set -euo pipefail

here=$KVRING_SOURCE/tests/package
work=$(mktemp -d)
trap 'cd /; rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C
warnings=(-Wall -Wextra -Wpedantic -Werror)

die() {
	echo "FAILED: $*" >&2
	exit 1
}

# 77: not here, with why
needs() { # tool...
	local tool
	for tool; do
		command -v "$tool" >/dev/null || {
			echo "no $tool here: scripts/setup.sh test installs it"
			exit 77
		}
	done
}

# The directory of libraries under a prefix.
libdir_of() { # prefix
	local found
	found=$(find "$1" -name pkgconfig -type d)
	[ -n "$found" ] || die "no pkgconfig directory under $1"
	dirname "$found"
}

# Every public header of the source is there and stands alone.
check_headers() { # prefix
	local header name
	for header in "$KVRING_SOURCE"/include/kvring/*.h; do
		name=kvring/$(basename "$header")
		echo "#include <$name>" >alone.c
		cp alone.c alone.cpp
		cc -std=c11 "${warnings[@]}" -fsyntax-only -I"$1/include" \
			alone.c || die "$name alone in C"
		c++ -std=c++17 "${warnings[@]}" -fsyntax-only \
			-I"$1/include" alone.cpp || die "$name alone in C++"
	done
}

# No text tells where it was built.
check_paths() { # prefix
	local found
	found=$(grep -rIlF -e "$KVRING_SOURCE" -e "$KVRING_BUILD" "$1") &&
		die "a path of the building machine in $found"
	# but that of the prefix that Debian's packages are made for
	found=$(cd "$(libdir_of "$1")" && grep -rhoE '/usr/[^"; ]+' cmake \
		pkgconfig | grep -vE '^/usr/lib(\.|/[^/]*/cmake/kvring)$') &&
		die "a path of this machine: $found"
	return 0
}

# A program that takes the address of every function that is declared.
write_every() { # prefix
	local names
	names=$(cat "$1"/include/kvring/*.h | tr '\n' ' ' |
		grep -oE 'KVR_API[^;{]*;' | grep -oE 'kvr_[a-z_0-9]+ ?\(' |
		tr -d ' (' | sort -u)
	[ "$(wc -l <<<"$names")" -ge 50 ] || die "functions lost: $names"
	for header in "$1"/include/kvring/*.h; do
		echo "#include <kvring/$(basename "$header")>"
	done
	echo "typedef void (*any)(void);"
	echo "any every[] = {"
	sed 's/.*/(any)&,/' <<<"$names"
	echo "}; int main(void) { return !every[0]; }"
}

# What a program wants of us is exported, and nothing but kvr_* is.
check_symbols() { # library, program...
	local library=$1 exported missing
	shift
	exported=$(nm -D --defined-only "$library" |
		awk '$(NF-1) != "A" { sub("@.*", "", $NF); print $NF }' | sort)
	missing=$(grep -v '^kvr_' <<<"$exported") &&
		die "exported, not ours: $missing"
	missing=$(nm -D --undefined-only "$@" | grep -oE ' kvr_[a-z_0-9]+' |
		tr -d ' ' | sort -u | comm -23 - <(echo "$exported"))
	[ -z "$missing" ] || die "not exported: $missing"
}

# A ring of two of a program.
check_ring() { # prefix, program
	local said
	said=$("$1/bin/kvring" run -n 2 -- "$2") || die "$2 in a ring: $said"
	[ "$(grep -cE '^rank [01] of 2: ' <<<"$said")" -eq 2 ] ||
		die "$2 in a ring: $said"
	echo "$said"
}

pkg() { # prefix, argument...
	local path
	path=$(libdir_of "$1")/pkgconfig
	shift
	PKG_CONFIG_PATH=$path pkg-config "$@" kvring || die "pkg-config $*"
}

check_pkg_config() { # prefix
	local flags libs static rpath
	rpath=$(libdir_of "$1")
	eval "flags=($(pkg "$1" --cflags))"
	eval "libs=($(pkg "$1" --libs))"
	eval "static=($(pkg "$1" --static --libs))"
	write_every "$1" >every.c
	libs+=("-Wl,--no-undefined,--no-allow-shlib-undefined,-rpath,$rpath")
	cc -std=c11 "${flags[@]}" every.c "${libs[@]}" -o every &&
		cc -std=c11 "${warnings[@]}" "${flags[@]}" "$here/ring.c" \
			"${libs[@]}" -lm -o ring_c &&
		c++ -std=c++17 "${warnings[@]}" "${flags[@]}" \
			"$here/ring.cpp" "${libs[@]}" -o ring_cxx ||
		die "programs by pkg-config"
	# the archive alone, with what the shared library brought by itself
	cc -std=c11 "${flags[@]}" "$here/ring.c" \
		"${static[@]/-lkvring/-l:libkvring.a}" -lm -o ring_static ||
		die "a program by pkg-config --static"
	ldd ring_static | grep libkvring && die "ring_static is not static"
	./every || die "a function has no address"
	check_symbols "$rpath/libkvring.so" every ring_c ring_cxx
	for program in ring_c ring_cxx ring_static; do
		check_ring "$1" ./$program
	done
}

check_cmake() { # prefix, target, components
	local build=by-cmake-$2
	cmake -S "$here/consumer" -B "$build" -G Ninja "-DTARGET=$2" \
		"-DCOMPONENTS=$3" "-DCMAKE_PREFIX_PATH=$1" >log 2>&1 &&
		cmake --build "$build" >>log 2>&1 || {
		cat log
		die "programs by find_package"
	}
	check_ring "$1" "$build/ring_c"
	check_ring "$1" "$build/ring_cxx"
}

check_soname() { # prefix
	readelf -d "$(libdir_of "$1")/libkvring.so" |
		grep -q 'soname: \[libkvring.so.0\]' || die "soname"
}
