/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/accelerator.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char file_name[] = "libkvring_cuda.so";

static pthread_once_t once = PTHREAD_ONCE_INIT;
/* Set last by open_once; pairs with the load in kvr_accelerator_present. */
static atomic_bool is_open;
static struct {
	const struct kvr_accelerator_ops *ops;
	enum kvr_status status;
	pid_t pid;
	char reason[256];
} opened;

static void say(enum kvr_status status, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(enum kvr_status status, const char *format, ...)
{
	va_list list;

	opened.status = status;
	va_start(list, format);
	vsnprintf(opened.reason, sizeof(opened.reason), format, list);
	va_end(list);
}

/*
 * The plug-in's path beside this library, or beside the program that it is
 * linked into. Only an absolute path is taken, so that no plug-in comes from
 * the working directory.
 */
static bool beside(char *path, size_t bytes)
{
	char own[PATH_MAX];
	Dl_info info;
	const char *slash;
	ssize_t length;

	if (!dladdr(&opened, &info) || !info.dli_fname)
		return false;
	if (info.dli_fname[0] != '/') {
		length = readlink("/proc/self/exe", own, sizeof(own) - 1);
		if (length < 0)
			return false;
		own[length] = '\0';
		info.dli_fname = own;
	}
	slash = strrchr(info.dli_fname, '/');
	if (!slash)
		return false;
	return (size_t)snprintf(path, bytes, "%.*s/%s",
				(int)(slash - info.dli_fname), info.dli_fname,
				file_name) < bytes;
}

/* Where it is, or its bare name: wherever the loader finds it. */
static const char *find(char *path, size_t bytes)
{
	const char *set = secure_getenv("KVRING_CUDA_PLUGIN");

	if (set)
		return set;
	if (beside(path, bytes) && !access(path, F_OK))
		return path;
	return file_name;
}

/* dlerror names the file that is missing first: ours, or one that it needs. */
static void say_not_loaded(const char *path)
{
	const char *error = dlerror();

	if (path == file_name && error && strstr(error, "No such file") &&
	    !strncmp(error, file_name, sizeof(file_name) - 1))
		say(KVR_ERR_UNSUPPORTED,
		    "no %s here; where there is a GPU, install it (package "
		    "libkvring-cuda) or build with -DKVRING_CUDA=ON",
		    file_name);
	else
		say(KVR_ERR_PLUGIN, "%s", error ? error : path);
}

/* Never closed: the CUDA runtime in it has threads and exit handlers. */
static const struct kvr_accelerator_ops *load(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	const struct kvr_accelerator_ops *ops;

	if (!handle) {
		say_not_loaded(path);
		return NULL;
	}
	ops = dlsym(handle, KVR_ACCELERATOR_SYMBOL);
	if (!ops) {
		say(KVR_ERR_PLUGIN, "%s: no plug-in of kvring", path);
		return NULL;
	}
	if (ops->abi != KVR_ACCELERATOR_ABI || ops->size != sizeof(*ops)) {
		say(KVR_ERR_PLUGIN,
		    "%s is of another kvring (ABI %u.%u, wanted %u.%zu); "
		    "install that of this version",
		    path, ops->abi, ops->size, KVR_ACCELERATOR_ABI,
		    sizeof(*ops));
		return NULL;
	}
	return ops;
}

static void open_once(void)
{
	char path[PATH_MAX];
	const char *found = find(path, sizeof(path));
	const struct kvr_accelerator_ops *ops;

	if (!*found) {
		say(KVR_ERR_UNSUPPORTED,
		    "KVRING_CUDA_PLUGIN is empty: no plug-in is looked for");
		return;
	}
	ops = load(found);
	if (!ops)
		return;
	opened.status = ops->probe(opened.reason, sizeof(opened.reason));
	if (opened.status != KVR_OK)
		return;
	opened.ops = ops;
	opened.pid = getpid();
	atomic_store_explicit(&is_open, true, memory_order_release);
}

enum kvr_status kvr_accelerator_open(const struct kvr_accelerator_ops **out,
				     char *reason, size_t reason_bytes)
{
	pthread_once(&once, open_once);
	snprintf(reason, reason_bytes, "%s", opened.reason);
	if (opened.status == KVR_OK)
		*out = opened.ops;
	return opened.status;
}

const struct kvr_accelerator_ops *kvr_accelerator_present(void)
{
	const struct kvr_accelerator_ops *ops = NULL;
	char reason[sizeof(opened.reason)];
	void *driver;

	/* A driver does not survive fork: to a child all memory is the host's.
	 */
	if (atomic_load_explicit(&is_open, memory_order_acquire))
		return opened.pid == getpid() ? opened.ops : NULL;
	driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
	if (!driver)
		return NULL;
	dlclose(driver);
	return kvr_accelerator_open(&ops, reason, sizeof(reason)) == KVR_OK
		       ? ops
		       : NULL;
}

void kvr_gpu_info_init(struct kvr_gpu_info *info)
{
	*info = (struct kvr_gpu_info){.size = sizeof(*info)};
}

enum kvr_status kvr_gpu_get_info(uint32_t index, struct kvr_gpu_info *out,
				 char *reason, size_t reason_bytes)
{
	const struct kvr_accelerator_ops *ops;
	enum kvr_status status;

	if (!out || out->size != sizeof(*out) || !reason || !reason_bytes)
		return KVR_ERR_INVALID;
	status = kvr_accelerator_open(&ops, reason, reason_bytes);
	if (status != KVR_OK)
		return status;
	reason[0] = '\0';
	return ops->device_info(index, out, reason, reason_bytes);
}
