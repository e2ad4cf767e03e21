# SPDX-License-Identifier: Apache-2.0
# Emulated CUDA for tests (tests/emulated_cuda): found here, NVIDIA's headers
# and a C++ compiler. KVRING_EMULATED_CUDA tells whether; where it is OFF,
# KVRING_EMULATED_CUDA_MISSING says what is missing.
include(CheckLanguage)
check_language(CXX)
find_path(KVRING_CUDA_HEADERS cuda_runtime_api.h
	HINTS ${CUDAToolkit_ROOT}/include $ENV{CUDA_PATH}/include
		/usr/local/cuda/include)
set(KVRING_EMULATED_CUDA OFF)
if(NOT CMAKE_CXX_COMPILER)
	set(KVRING_EMULATED_CUDA_MISSING "a C++ compiler")
elseif(NOT KVRING_CUDA_HEADERS OR
		NOT EXISTS ${KVRING_CUDA_HEADERS}/cublas_v2.h)
	set(KVRING_EMULATED_CUDA_MISSING "the headers of the CUDA toolkit")
else()
	enable_language(CXX)
	set(KVRING_EMULATED_CUDA ON)
endif()

# Each .cu goes through a file that includes it: elsewhere it may be nvcc's.
function(kvr_emulated_wrap name out)
	set(wrapped "")
	foreach(source IN LISTS ARGN)
		get_filename_component(path ${source} ABSOLUTE)
		if(path MATCHES "\\.cu$")
			get_filename_component(base ${source} NAME)
			set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/emulated)
			set(wrapper ${wrapper}/${name}/${base}.cpp)
			file(CONFIGURE OUTPUT ${wrapper}
				CONTENT "#include \"${path}\"\n")
			set(path ${wrapper})
		endif()
		list(APPEND wrapped ${path})
	endforeach()
	set(${out} ${wrapped} PARENT_SCOPE)
endfunction()

# kvr_emulated_cuda_library(NAME [SHARED|MODULE] SOURCES x.cu ... [LINK ...])
# Sources compiled by the C++ compiler against the emulation, static if nothing
# else is said.
function(kvr_emulated_cuda_library name)
	cmake_parse_arguments(L "SHARED;MODULE" "" "SOURCES;LINK" ${ARGN})
	set(type STATIC)
	if(L_SHARED)
		set(type SHARED)
	elseif(L_MODULE)
		set(type MODULE)
	endif()
	kvr_emulated_wrap(${name} sources ${L_SOURCES})
	add_library(${name} ${type} ${sources})
	target_link_libraries(${name} PUBLIC kvr_emulated_cuda PRIVATE
		kvr_emulated_device_flags ${L_LINK})
	set_target_properties(${name} PROPERTIES
		POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)
endfunction()

# kvr_emulated_cuda_program(NAME SOURCES x.cu ... [LINK ...])
function(kvr_emulated_cuda_program name)
	cmake_parse_arguments(P "" "" "SOURCES;LINK" ${ARGN})
	kvr_emulated_wrap(${name} sources ${P_SOURCES})
	add_executable(${name} ${sources})
	target_link_libraries(${name} PRIVATE kvr_emulated_cuda
		kvr_emulated_device_flags ${P_LINK})
endfunction()

if(KVRING_EMULATED_CUDA)
	add_library(kvr_emulated_device_flags INTERFACE)
	target_include_directories(kvr_emulated_device_flags INTERFACE
		${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
	target_compile_definitions(kvr_emulated_device_flags INTERFACE
		_GNU_SOURCE KVR_VERSION="${PROJECT_VERSION}")
	target_compile_features(kvr_emulated_device_flags INTERFACE cxx_std_17)
	# A product and a sum are one rounding in nvcc and two here: close
	# enough for tolerances, and the same in every build.
	target_compile_options(kvr_emulated_device_flags INTERFACE
		$<$<COMPILE_LANGUAGE:CXX>:-include
		tests/emulated_cuda/device.h>
		-Wall -Wextra -Wshadow -Wno-unused-function
		-ffp-contract=off -fno-common)
	if(KVRING_WERROR)
		target_compile_options(kvr_emulated_device_flags INTERFACE
			-Werror)
	endif()
	if(KVRING_SANITIZE)
		target_compile_options(kvr_emulated_device_flags INTERFACE
			-fsanitize=${KVRING_SANITIZE} -fno-omit-frame-pointer
			-fno-sanitize-recover=all)
		target_link_options(kvr_emulated_device_flags INTERFACE
			-fsanitize=${KVRING_SANITIZE})
	endif()
endif()
