# SPDX-License-Identifier: Apache-2.0
# libkvring.so (export map, soname) and libkvring.a from the same objects.
# With -DBUILD_SHARED_LIBS=OFF only the archive; `kvring` then stands for it.
set(map ${PROJECT_SOURCE_DIR}/cmake/libkvring.map)
set(needed ${KVRING_SYSTEM_LIBRARIES})
if(OPENSSL_FOUND)
	list(APPEND needed OpenSSL::Crypto)
endif()

add_library(kvring_static STATIC $<TARGET_OBJECTS:kvring_objects>)
# Installed, the flags stay behind, and libraries go by their names: no path
# of this machine (kvring_private is of cmake/install.cmake).
target_link_libraries(kvring_static PUBLIC
	"$<BUILD_INTERFACE:kvring_flags;${needed}>"
	"$<INSTALL_INTERFACE:${kvring_private};m;Threads::Threads>")
set_target_properties(kvring_static PROPERTIES
	OUTPUT_NAME kvring EXPORT_NAME static
	ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})

set(libraries kvring_static)
if(BUILD_SHARED_LIBS)
	add_library(kvring SHARED $<TARGET_OBJECTS:kvring_objects>)
	target_link_libraries(kvring PRIVATE
		"$<BUILD_INTERFACE:kvring_flags;${needed}>")
	target_link_options(kvring PRIVATE LINKER:--version-script=${map})
	set_target_properties(kvring PROPERTIES
		VERSION ${PROJECT_VERSION}
		SOVERSION ${PROJECT_VERSION_MAJOR}
		LINK_DEPENDS ${map}
		RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
		LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
	list(APPEND libraries kvring)
else()
	add_library(kvring ALIAS kvring_static)
endif()
foreach(library IN LISTS libraries)
	target_include_directories(${library} PUBLIC
		$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
		$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
