/* SPDX-License-Identifier: Apache-2.0 */
/* What tests set: failures, order; and how errors are told. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/emulated_cuda/internal.h"

EMU_EXPORT const char kvr_emulated_cuda_marker[] = "emulated CUDA";

static struct {
	pthread_mutex_t lock;
	unsigned calls;
	unsigned fail_in;   /* 0: none planned */
	char fail_name[64]; /* "": any */
	int fail_error;
	bool order_known;
	enum kvr_emulated_order order;
	uint64_t seed;
} settings = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local cudaError_t last_error;

_Noreturn void emu_abort(const char *format, ...)
{
	va_list list;

	fputs("emulated CUDA: ", stderr);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	abort();
}

void *emu_new(size_t count, size_t size)
{
	void *at = calloc(count, size);

	if (at)
		return at;
	emu_abort("no memory for %zu bytes", count * size);
}

cudaError_t emu_error(cudaError_t error)
{
	if (error != cudaSuccess)
		last_error = error;
	return error;
}

/* The headers turn some names into others: cuStreamWriteValue32_v2. */
static bool is_call(const char *name, const char *wanted)
{
	size_t length = strlen(wanted);

	return !*wanted ||
	       (strncmp(name, wanted, length) == 0 &&
		(!name[length] || strncmp(name + length, "_v", 2) == 0));
}

cudaError_t emu_call(const char *name)
{
	cudaError_t error = cudaSuccess;

	pthread_mutex_lock(&settings.lock);
	settings.calls++;
	if (settings.fail_in && is_call(name, settings.fail_name) &&
	    --settings.fail_in == 0)
		error = settings.fail_error;
	pthread_mutex_unlock(&settings.lock);
	return error;
}

EMU_EXPORT void kvr_emulated_fail_named(const char *name, unsigned n, int error)
{
	pthread_mutex_lock(&settings.lock);
	snprintf(settings.fail_name, sizeof(settings.fail_name), "%s", name);
	settings.fail_in = n;
	settings.fail_error = error;
	pthread_mutex_unlock(&settings.lock);
}

EMU_EXPORT void kvr_emulated_fail_call(unsigned n, int error)
{
	kvr_emulated_fail_named("", n, error);
}

EMU_EXPORT unsigned kvr_emulated_calls(void)
{
	unsigned calls;

	pthread_mutex_lock(&settings.lock);
	calls = settings.calls;
	pthread_mutex_unlock(&settings.lock);
	return calls;
}

static void set_order(enum kvr_emulated_order order, uint64_t seed)
{
	settings.order = order;
	settings.seed = seed;
	settings.order_known = true;
}

EMU_EXPORT void kvr_emulated_set_order(enum kvr_emulated_order order,
				       uint64_t seed)
{
	pthread_mutex_lock(&settings.lock);
	set_order(order, seed);
	pthread_mutex_unlock(&settings.lock);
}

static void order_from_environment(void)
{
	const char *text = getenv("KVR_EMULATED_ORDER");

	if (!text || !strcmp(text, "forward"))
		set_order(KVR_EMULATED_FORWARD, 0);
	else if (!strcmp(text, "reverse"))
		set_order(KVR_EMULATED_REVERSE, 0);
	else if (!strncmp(text, "random:", 7))
		set_order(KVR_EMULATED_RANDOM, strtoull(text + 7, NULL, 10));
	else
		emu_abort("KVR_EMULATED_ORDER=%s is not forward, reverse or "
			  "random:SEED",
			  text);
}

/* Read without the lock, which would order what it must not: see grid.c. */
enum kvr_emulated_order emu_order(uint64_t *seed)
{
	if (!settings.order_known)
		order_from_environment();
	*seed = settings.seed;
	return settings.order;
}

EMU_EXPORT void kvr_emulated_reset(void)
{
	kvr_emulated_fail_call(0, 0);
	kvr_emulated_set_memory(0);
	emu_devices_reset();
	pthread_mutex_lock(&settings.lock);
	order_from_environment();
	pthread_mutex_unlock(&settings.lock);
	last_error = cudaSuccess;
}

EMU_EXPORT cudaError_t cudaGetLastError(void)
{
	cudaError_t error = last_error;

	last_error = cudaSuccess;
	return error;
}

EMU_EXPORT cudaError_t cudaPeekAtLastError(void)
{
	return last_error;
}
