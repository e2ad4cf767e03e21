# SPDX-License-Identifier: Apache-2.0
# One interface target carries every flag.
add_library(kvring_flags INTERFACE)
target_compile_definitions(kvring_flags INTERFACE _GNU_SOURCE
	KVR_VERSION="${PROJECT_VERSION}")
target_compile_options(kvring_flags INTERFACE
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef
	-fno-common -fstack-protector-strong)
if(KVRING_WERROR)
	target_compile_options(kvring_flags INTERFACE -Werror)
endif()
if(KVRING_SANITIZE)
	target_compile_options(kvring_flags INTERFACE
		-fsanitize=${KVRING_SANITIZE} -fno-omit-frame-pointer
		-fno-sanitize-recover=all)
	target_link_options(kvring_flags INTERFACE
		-fsanitize=${KVRING_SANITIZE})
endif()
if(KVRING_COVERAGE)
	target_compile_options(kvring_flags INTERFACE --coverage)
	target_link_options(kvring_flags INTERFACE --coverage)
endif()
find_package(Threads REQUIRED)
target_link_libraries(kvring_flags INTERFACE Threads::Threads m)
