# SPDX-License-Identifier: Apache-2.0
# Debian's cross compiler, with the libraries that scripts/aarch64.sh unpacked
# to KVRING_SYSROOT; programs run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES KVRING_SYSROOT)

set(libraries ${KVRING_SYSROOT}/usr/lib/aarch64-linux-gnu)
set(libraries ${libraries}:${KVRING_SYSROOT}/lib/aarch64-linux-gnu)
set(CMAKE_C_FLAGS_INIT "-isystem ${KVRING_SYSROOT}/usr/include \
-isystem ${KVRING_SYSROOT}/usr/include/aarch64-linux-gnu")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${libraries}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-Wl,-rpath-link,${libraries}")

set(CMAKE_FIND_ROOT_PATH ${KVRING_SYSROOT} /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu
	-E LD_LIBRARY_PATH=${libraries} -E KVRING_EMULATED=qemu-user)
