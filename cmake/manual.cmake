# SPDX-License-Identifier: Apache-2.0
# A manual page for each public function, made of its header.
find_package(Python3 COMPONENTS Interpreter)
if(NOT Python3_FOUND)
	message(STATUS "manual pages of functions left out: they need python3")
	return()
endif()
file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/kvring/*.h)
set(pages ${PROJECT_BINARY_DIR}/man3)
add_custom_command(OUTPUT ${pages}/kvring.3
	COMMAND ${Python3_EXECUTABLE} -B ${PROJECT_SOURCE_DIR}/scripts/manual.py
		--date ${KVRING_DATE} --out ${pages} ${headers}
	DEPENDS ${headers} scripts/manual.py
	COMMENT "Manual pages of functions" VERBATIM)
add_custom_target(kvring_manual ALL DEPENDS ${pages}/kvring.3)
install(DIRECTORY ${pages}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man3
	COMPONENT development FILES_MATCHING PATTERN "*.3")
