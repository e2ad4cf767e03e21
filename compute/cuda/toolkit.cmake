# SPDX-License-Identifier: Apache-2.0
# Finds CUDA 12 or 13, tries it, and says how kernels are compiled. The global
# property KVRING_CUDA_LEFT_OUT is the reason why there is no plug-in, or "".

function(kvr_cuda_leave_out why)
	if(NOT KVRING_CUDA STREQUAL "AUTO" AND KVRING_CUDA)
		message(FATAL_ERROR "-DKVRING_CUDA=${KVRING_CUDA}, but: ${why}")
	endif()
	set_property(GLOBAL PROPERTY KVRING_CUDA_LEFT_OUT "${why}")
endfunction()

# sm_80 serves 8.x, sm_90a 9.0, sm_100 10.x; what comes later compiles the PTX
# when it is loaded. That of 90a would serve 9.0 alone.
function(kvr_cuda_choose_targets version)
	set(targets 80 90a)
	set(newest 90)
	if(version VERSION_GREATER_EQUAL 12.8)
		list(APPEND targets 100)
		set(newest 100)
	endif()
	set(flags -gencode arch=compute_${newest},code=compute_${newest})
	foreach(target IN LISTS targets)
		list(APPEND flags
			-gencode arch=compute_${target},code=sm_${target})
	endforeach()
	list(TRANSFORM targets PREPEND sm_)
	set_property(GLOBAL PROPERTY KVRING_CUDA_TARGETS "${targets}")
	set_property(GLOBAL PROPERTY KVRING_CUDA_PTX ptx_${newest})
	set(kvring_cuda_architectures ${flags} PARENT_SCOPE)
endfunction()

# A toolkit whose nvcc refuses the host's compiler is as good as none. That it
# compiles is remembered: trying takes two seconds.
function(kvr_cuda_try nvcc)
	set(tried "${nvcc} ${CUDAToolkit_VERSION} ${kvring_nvcc_flags}")
	if(KVRING_CUDA_TRIED STREQUAL tried)
		return()
	endif()
	set(file ${PROJECT_BINARY_DIR}/CMakeFiles/kvring_try.cu)
	file(WRITE ${file} "__global__ void kvring_try(int *x) { *x = 1; }\n")
	execute_process(COMMAND ${nvcc} ${kvring_nvcc_flags}
		${kvring_cuda_architectures} -c ${file} -o ${file}.o
		RESULT_VARIABLE result OUTPUT_VARIABLE said ERROR_VARIABLE said)
	if(NOT result EQUAL 0)
		string(REGEX REPLACE "\n.*" "" said "${said}")
		kvr_cuda_leave_out("${nvcc} compiles nothing here: ${said}")
	else()
		set(KVRING_CUDA_TRIED "${tried}" CACHE INTERNAL "")
	endif()
endfunction()

# Warnings are errors, of the host's compiler, nvcc, and ptxas with its spills.
set(kvring_nvcc_flags -std=c++17 -O3
	-Xcompiler=-fPIC,-fvisibility=hidden,-fno-exceptions
	-Xcompiler=-fno-threadsafe-statics -Xptxas=-v)
if(KVRING_WERROR)
	list(APPEND kvring_nvcc_flags --Werror=all-warnings
		-Xcompiler=-Wall,-Wextra,-Werror
		-Xptxas=--warn-on-spills,--warning-as-error)
endif()

# kvr_cuda_kernels(TARGET FILE.cu...): what ptxas says of FILE.cu is kept as
# FILE.o.log for the test of the budget.
function(kvr_cuda_kernels target)
	get_property(architectures GLOBAL PROPERTY KVRING_CUDA_TARGETS)
	foreach(file IN LISTS ARGN)
		get_filename_component(stem ${file} NAME_WE)
		set(object ${CMAKE_CURRENT_BINARY_DIR}/${stem}.o)
		add_custom_command(OUTPUT ${object} ${object}.log
			COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/compile.sh
				${object} ${CUDAToolkit_NVCC_EXECUTABLE}
				${kvring_nvcc_flags}
				${kvring_cuda_architectures}
				-I${PROJECT_SOURCE_DIR}
				-I${PROJECT_SOURCE_DIR}/include
				${CMAKE_CURRENT_SOURCE_DIR}/${file}
			DEPENDS ${file} compile.sh
			DEPFILE ${object}.d
			COMMENT "Compiling ${file} for ${architectures}"
			VERBATIM)
		target_sources(${target} PRIVATE ${object})
		set_property(GLOBAL APPEND PROPERTY KVRING_CUDA_LOGS
			${object}.log)
	endforeach()
endfunction()

set_property(GLOBAL PROPERTY KVRING_CUDA_LEFT_OUT "")
if(KVRING_CUDA STREQUAL "AUTO" AND KVRING_SANITIZE)
	kvr_cuda_leave_out("nvcc's part has no sanitizer")
elseif(NOT KVRING_CUDA)
	kvr_cuda_leave_out("-DKVRING_CUDA=${KVRING_CUDA}")
else()
	find_package(CUDAToolkit 12.0 QUIET)
	if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE AND
			TARGET CUDA::cudart_static)
		kvr_cuda_choose_targets(${CUDAToolkit_VERSION})
		kvr_cuda_try(${CUDAToolkit_NVCC_EXECUTABLE})
	else()
		kvr_cuda_leave_out("no CUDA toolkit 12.0 or newer is found, with \
nvcc and libcudart_static: -DCUDAToolkit_ROOT= names one")
	endif()
endif()
