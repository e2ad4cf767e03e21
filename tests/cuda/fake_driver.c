/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libcuda.so.1 for the real CUDA runtime to meet, which fails to start as
 * the environment says:
 *
 *	KVR_FAKE_INIT		what cuInit returns; 100: no GPU, 34: a stub
 *	KVR_FAKE_VERSION	of CUDA, as cuDriverGetVersion says it
 *
 * It cannot start: the runtime would ask for tables that nobody documents.
 */
#include <stdlib.h>
#include <string.h>

/* CUDA's numbers, not from its header: this is what a driver says. */
enum { SUCCESS = 0, STUB = 34, NOT_SUPPORTED = 801 };

#define EXPORT __attribute__((visibility("default")))

EXPORT int cuInit(unsigned flags);
EXPORT int cuDriverGetVersion(int *out);
EXPORT int cuGetProcAddress(const char *name, void **out, int version,
			    unsigned long long flags);
EXPORT int cuGetProcAddress_v2(const char *name, void **out, int version,
			       unsigned long long flags, int *found);

static int setting(const char *name, int otherwise)
{
	const char *value = getenv(name);

	return value ? atoi(value) : otherwise;
}

int cuInit(unsigned flags)
{
	(void)flags;
	return setting("KVR_FAKE_INIT", SUCCESS);
}

int cuDriverGetVersion(int *out)
{
	if (setting("KVR_FAKE_INIT", SUCCESS) == STUB)
		return STUB;
	*out = setting("KVR_FAKE_VERSION", 99990);
	return SUCCESS;
}

static int not_supported(void)
{
	return NOT_SUPPORTED;
}

int cuGetProcAddress_v2(const char *name, void **out, int version,
			unsigned long long flags, int *found)
{
	static const struct {
		const char *name;
		void *function;
	} calls[] = {
		{"cuInit", (void *)cuInit},
		{"cuDriverGetVersion", (void *)cuDriverGetVersion},
		{"cuGetProcAddress", (void *)cuGetProcAddress_v2},
	};

	(void)version;
	(void)flags;
	*out = (void *)not_supported;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (!strcmp(name, calls[i].name))
			*out = calls[i].function;
	if (found)
		*found = 0;
	return SUCCESS;
}

int cuGetProcAddress(const char *name, void **out, int version,
		     unsigned long long flags)
{
	return cuGetProcAddress_v2(name, out, version, flags, NULL);
}
