/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "compute/cuda/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

static const char file_name[] = "libcublas.so." TEXT(CUBLAS_VER_MAJOR);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
	struct kvr_cuda_blas blas;
	bool usable;
	char reason[256];
} loaded;

/* The header's macros make the versioned names that are looked up. */
static const struct call {
	size_t offset;
	const char *name;
} calls[] = {
	{offsetof(struct kvr_cuda_blas, create), TEXT(cublasCreate)},
	{offsetof(struct kvr_cuda_blas, destroy), TEXT(cublasDestroy)},
	{offsetof(struct kvr_cuda_blas, set_stream), TEXT(cublasSetStream)},
	{offsetof(struct kvr_cuda_blas, set_workspace),
	 TEXT(cublasSetWorkspace)},
	{offsetof(struct kvr_cuda_blas, gemm),
	 TEXT(cublasGemmStridedBatchedEx)},
	{offsetof(struct kvr_cuda_blas, status_string),
	 TEXT(cublasGetStatusString)},
};

static const char *look_up(void *handle)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		void *entry = dlsym(handle, calls[i].name);

		if (!entry)
			return calls[i].name;
		memcpy((char *)&loaded.blas + calls[i].offset, &entry,
		       sizeof(entry));
	}
	return NULL;
}

/* Never closed: cuBLAS has threads and exit handlers. */
static void load_once(void)
{
	void *handle = RTLD_DEFAULT;
	const char *missing;

	if (look_up(handle)) {
		handle = dlopen(file_name, RTLD_NOW | RTLD_LOCAL);
		if (!handle) {
			snprintf(loaded.reason, sizeof(loaded.reason),
				 "attention on the GPU needs cuBLAS: %s",
				 dlerror());
			return;
		}
		missing = look_up(handle);
		if (missing) {
			snprintf(loaded.reason, sizeof(loaded.reason),
				 "%s has no %s: it is too old", file_name,
				 missing);
			return;
		}
	}
	loaded.usable = true;
}

enum kvr_status kvr_cuda_blas_load(const struct kvr_cuda_blas **out,
				   char *reason, size_t reason_bytes)
{
	pthread_once(&once, load_once);
	if (!loaded.usable) {
		snprintf(reason, reason_bytes, "%s", loaded.reason);
		return KVR_ERR_UNSUPPORTED;
	}
	*out = &loaded.blas;
	return KVR_OK;
}
