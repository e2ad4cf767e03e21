# SPDX-License-Identifier: Apache-2.0
# What programs that use the library need of it, installed: the archive and
# the shared library, headers, a CMake package and a pkg-config file. Both say
# where they lie by where they are found, so the prefix may be moved.
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/kvring)

install(TARGETS kvring_static EXPORT kvringStatic
	ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(EXPORT kvringStatic NAMESPACE kvring:: DESTINATION ${package}
	COMPONENT development)
if(BUILD_SHARED_LIBS)
	install(TARGETS kvring EXPORT kvringShared
		LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
		NAMELINK_COMPONENT development)
	install(EXPORT kvringShared NAMESPACE kvring:: DESTINATION ${package}
		COMPONENT development)
endif()
# Beside the library, where it looks first.
if(TARGET kvring_cuda)
	install(TARGETS kvring_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
		COMPONENT cuda)
endif()
install(DIRECTORY include/kvring DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
	COMPONENT development FILES_MATCHING PATTERN "*.h")

configure_package_config_file(cmake/kvring-config.cmake.in
	${PROJECT_BINARY_DIR}/cmake/kvring-config.cmake
	INSTALL_DESTINATION ${package} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
	${PROJECT_BINARY_DIR}/cmake/kvring-config-version.cmake
	COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/cmake/kvring-config.cmake
	${PROJECT_BINARY_DIR}/cmake/kvring-config-version.cmake
	DESTINATION ${package} COMPONENT development)

# kvring.pc: what a static link needs is private, unless there is no other.
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
	set(pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
	file(RELATIVE_PATH pc_prefix
		${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
	string(REGEX REPLACE "/$" "" pc_prefix "\${pcfiledir}/${pc_prefix}")
endif()
foreach(dir LIBDIR INCLUDEDIR)
	set(pc_${dir} ${CMAKE_INSTALL_${dir}})
	if(NOT IS_ABSOLUTE ${pc_${dir}})
		set(pc_${dir} \${prefix}/${pc_${dir}})
	endif()
endforeach()
list(TRANSFORM kvring_private PREPEND lib OUTPUT_VARIABLE requires)
list(JOIN requires ", " requires)
if(BUILD_SHARED_LIBS)
	set(pc_libs "Libs: -L\${libdir} -lkvring
Libs.private: -pthread -lm
Requires.private: ${requires}")
else()
	set(pc_libs "Libs: -L\${libdir} -lkvring -pthread -lm
Requires: ${requires}")
endif()
configure_file(cmake/kvring.pc.in kvring.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/kvring.pc
	DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
