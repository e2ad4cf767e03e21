# SPDX-License-Identifier: Apache-2.0
# libkvring.so (export map, soname) and libkvring.a from the same objects.
set(map ${PROJECT_SOURCE_DIR}/cmake/libkvring.map)
add_library(kvring SHARED $<TARGET_OBJECTS:kvring_objects>)
target_link_libraries(kvring PRIVATE kvring_flags ${KVRING_SYSTEM_LIBRARIES})
target_link_options(kvring PRIVATE LINKER:--version-script=${map})
set_target_properties(kvring PROPERTIES
	VERSION ${PROJECT_VERSION}
	SOVERSION ${PROJECT_VERSION_MAJOR}
	LINK_DEPENDS ${map}
	RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
	LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})

add_library(kvring_static STATIC $<TARGET_OBJECTS:kvring_objects>)
target_link_libraries(kvring_static PUBLIC kvring_flags
	${KVRING_SYSTEM_LIBRARIES})
set_target_properties(kvring_static PROPERTIES OUTPUT_NAME kvring
	ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
foreach(library kvring kvring_static)
	if(OPENSSL_FOUND)
		target_link_libraries(${library} PRIVATE OpenSSL::Crypto)
	endif()
	target_include_directories(${library} PUBLIC
		$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
		$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()

install(TARGETS kvring LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS kvring_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/kvring DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
