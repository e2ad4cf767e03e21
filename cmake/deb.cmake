# SPDX-License-Identifier: Apache-2.0
# Debian packages libkvring0, libkvring-dev and kvring, and libkvring-cuda where
# the CUDA plug-in is built, by CPack:
#	cmake --preset deb -G Ninja && cmake --build build/deb
#	(cd build/deb && cpack)
# What Debian wants and other installations do not (compressed man pages,
# copyright, change log) cmake/deb_finish.cmake adds before packing.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR kvring)
set(CPACK_PACKAGE_CONTACT "kvring maintainers <kvring@localhost.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_COMPONENTS_ALL library development command)
if(TARGET kvring_cuda)
	list(APPEND CPACK_COMPONENTS_ALL cuda)
endif()
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE
	OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_BINARY_DIR}/cmake/deb_finish.cmake)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR})
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(same "(= ${PROJECT_VERSION}-1)")

set(soname ${PROJECT_VERSION_MAJOR})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libkvring${soname})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA
	${PROJECT_BINARY_DIR}/cmake/triggers
	${PROJECT_BINARY_DIR}/cmake/shlibs)
file(WRITE ${PROJECT_BINARY_DIR}/cmake/shlibs
	"libkvring ${soname} libkvring${soname} (>= ${PROJECT_VERSION})\n")
file(WRITE ${PROJECT_BINARY_DIR}/cmake/triggers
	"activate-noawait ldconfig\n")
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION
"Computes attention over sequences too long for one machine: hosts form a
ring, and key/value blocks travel round it by RDMA writes while the hosts
compute. This package holds the shared library.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libkvring-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(depends "libkvring${soname} ${same}")
foreach(library IN LISTS kvring_private)
	if(library STREQUAL crypto)
		string(APPEND depends ", libssl-dev")
	else()
		string(APPEND depends ", lib${library}-dev")
	endif()
endforeach()
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS ${depends})
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION
"Headers, the static library, a CMake package, a pkg-config file and a manual
page for each function of libkvring.")

set(CPACK_DEBIAN_COMMAND_PACKAGE_NAME kvring)
set(CPACK_DEBIAN_COMMAND_PACKAGE_SECTION science)
set(CPACK_DEBIAN_COMMAND_PACKAGE_DEPENDS "libkvring${soname} ${same}")
set(CPACK_COMPONENT_COMMAND_DESCRIPTION
"Runs attention over files with ranks on one or several hosts, measures the
transports, and says what keeps RDMA from working on a machine.")

set(CPACK_DEBIAN_CUDA_PACKAGE_NAME libkvring-cuda)
set(CPACK_DEBIAN_CUDA_PACKAGE_SECTION contrib/libs)
set(CPACK_DEBIAN_CUDA_PACKAGE_DEPENDS "libkvring${soname} ${same}")
set(CPACK_COMPONENT_CUDA_DESCRIPTION
"Lets libkvring use NVIDIA GPUs: a plug-in, loaded where it is installed. It
needs the NVIDIA driver, and cuBLAS for attention; it holds NVIDIA's CUDA
runtime (libcudart_static) under the terms of the CUDA toolkit's licence.")

configure_file(cmake/deb_finish.cmake.in cmake/deb_finish.cmake @ONLY)
include(CPack)
