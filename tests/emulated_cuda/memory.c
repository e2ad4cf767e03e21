/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Device" memory: one range of addresses, a memfd, without access for
 * anybody unless an emulated operation runs (or a test stands for a NIC). So
 * the host faults when it dereferences a device pointer while the device is
 * idle, always; while the device works it may get away with it: mprotect(2)
 * knows no threads, and protection keys are not everywhere.
 *
 * Addresses are not used twice: what was freed stays without access (and is
 * poisoned), and no sanitizer mistakes a new buffer for an old one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/emulated_cuda/internal.h"

#define ARENA_BYTES ((size_t)64 << 30)
#define PAGE ((size_t)4096)
/* cudaMalloc promises 256; a gap follows each area. */
#define ALIGN ((size_t)512)
#define GAP ((size_t)256)
#define CANARY 0xc5

static struct {
	pthread_mutex_t lock;
	char *base;
	int fd;
	size_t used;	    /* from base */
	size_t live, limit; /* bytes; 0: no limit */
	size_t count;
	int open;
	unsigned long long ids;
	struct emu_area *areas;
} arena = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static size_t round_up(size_t value, size_t to)
{
	return (value + to - 1) / to * to;
}

static void arena_open(void)
{
	void *at;

	if (arena.base)
		return;
	arena.fd = memfd_create("emulated-device", MFD_CLOEXEC);
	if (arena.fd < 0 || ftruncate(arena.fd, (off_t)ARENA_BYTES) != 0)
		emu_abort("no memory for a device: %s", strerror(errno));
	at = mmap(NULL, ARENA_BYTES, PROT_NONE, MAP_SHARED | MAP_NORESERVE,
		  arena.fd, 0);
	if (at == MAP_FAILED)
		emu_abort("no addresses for a device: %s", strerror(errno));
	arena.base = at;
}

static void protect(int rights)
{
	if (arena.used &&
	    mprotect(arena.base, round_up(arena.used, PAGE), rights) != 0)
		emu_abort("mprotect: %s", strerror(errno));
}

EMU_EXPORT void kvr_emulated_memory_open(void)
{
	pthread_mutex_lock(&arena.lock);
	if (arena.open++ == 0)
		protect(PROT_READ | PROT_WRITE);
	pthread_mutex_unlock(&arena.lock);
}

EMU_EXPORT void kvr_emulated_memory_close(void)
{
	pthread_mutex_lock(&arena.lock);
	if (--arena.open == 0)
		protect(PROT_NONE);
	pthread_mutex_unlock(&arena.lock);
}

EMU_EXPORT void kvr_emulated_set_memory(size_t bytes)
{
	pthread_mutex_lock(&arena.lock);
	arena.limit = bytes;
	pthread_mutex_unlock(&arena.lock);
}

EMU_EXPORT size_t kvr_emulated_allocations(void)
{
	size_t count;

	pthread_mutex_lock(&arena.lock);
	count = arena.count;
	pthread_mutex_unlock(&arena.lock);
	return count;
}

/* Locked. */
static struct emu_area *find(const void *address)
{
	uintptr_t at = (uintptr_t)address;
	struct emu_area *area = arena.areas;

	while (area && at - area->base >= area->size)
		area = area->next;
	return area;
}

bool emu_area_find(const void *address, struct emu_area *out)
{
	struct emu_area *area;

	pthread_mutex_lock(&arena.lock);
	area = find(address);
	if (area && out)
		*out = *area;
	pthread_mutex_unlock(&arena.lock);
	return area;
}

bool emu_area_sync(const void *address, bool on)
{
	struct emu_area *area;

	pthread_mutex_lock(&arena.lock);
	area = find(address);
	if (area)
		area->sync_memops = on;
	pthread_mutex_unlock(&arena.lock);
	return area;
}

static bool in_arena(const void *at)
{
	return arena.base &&
	       (uintptr_t)at - (uintptr_t)arena.base < ARENA_BYTES;
}

void emu_area_check(const char *what, const void *at, size_t bytes)
{
	struct emu_area area;

	bool found;

	if (!bytes || !in_arena(at))
		return;
	emu_identity_leave();
	found = emu_area_find(at, &area);
	emu_identity_enter();
	if (!found)
		emu_abort("%s %zu bytes at %p, which is no device memory", what,
			  bytes, at);
	if ((uintptr_t)at - area.base + bytes > area.size)
		emu_abort("%s %zu bytes at %zu of an area of %zu", what, bytes,
			  (size_t)((uintptr_t)at - area.base), area.size);
}

/*
 * Locked. A gap behind each area, where no sanitizer watches it, is written
 * when it is made and read when it goes.
 */
static void gap_write(char *end)
{
#if !defined(__SANITIZE_ADDRESS__)
	if (!arena.open)
		protect(PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < GAP; i++)
		((volatile char *)end)[i] = (char)CANARY;
	if (!arena.open)
		protect(PROT_NONE);
#else
	(void)end;
#endif
}

static void gap_check(const struct emu_area *area)
{
#if !defined(__SANITIZE_ADDRESS__)
	const unsigned char *gap =
		(const unsigned char *)area->base + area->size;

	if (!arena.open)
		protect(PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < GAP; i++)
		if (gap[i] != CANARY)
			emu_abort("behind an area of %zu bytes, byte %zu was "
				  "written",
				  area->size, i);
	if (!arena.open)
		protect(PROT_NONE);
#else
	(void)area;
#endif
}

/* Locked. */
static struct emu_area *add(void *at, size_t size, enum emu_kind kind)
{
	struct emu_area *area = emu_new(1, sizeof(*area));

	area->base = (uintptr_t)at;
	area->size = size;
	area->kind = kind;
	area->id = ++arena.ids;
	area->device = emu_device_current();
	area->next = arena.areas;
	arena.areas = area;
	return area;
}

static bool drop(const void *at, enum emu_kind kind, bool imported,
		 struct emu_area *out)
{
	struct emu_area **link = &arena.areas, *area;

	while (*link &&
	       ((*link)->base != (uintptr_t)at || (*link)->kind != kind ||
		(*link)->imported != imported))
		link = &(*link)->next;
	area = *link;
	if (!area)
		return false;
	*out = *area;
	*link = area->next;
	free(area);
	return true;
}

cudaError_t emu_device_alloc(void **out, size_t size)
{
	cudaError_t error = cudaErrorMemoryAllocation;
	char *at;

	pthread_mutex_lock(&arena.lock);
	arena_open();
	if (size > ARENA_BYTES - arena.used - 2 * ALIGN ||
	    (arena.limit && arena.live + size > arena.limit))
		goto out;
	if (!arena.used)
		emu_poison(arena.base, ALIGN);
	at = arena.base + round_up(arena.used, ALIGN);
	arena.used = (size_t)(at - arena.base) + size + GAP;
	emu_unpoison(at, size);
	emu_poison(at + size, round_up(size, ALIGN) + ALIGN - size);
	add(at, size, EMU_DEVICE);
	arena.live += size;
	arena.count++;
	if (arena.open)
		protect(PROT_READ | PROT_WRITE);
	gap_write(at + size);
	*out = at;
	error = cudaSuccess;
out:
	pthread_mutex_unlock(&arena.lock);
	return error;
}

cudaError_t emu_device_free(void *at)
{
	cudaError_t error = cudaErrorInvalidValue;
	struct emu_area area;
	uintptr_t first, end;

	pthread_mutex_lock(&arena.lock);
	if (!drop(at, EMU_DEVICE, false, &area))
		goto out;
	gap_check(&area);
	arena.live -= area.size;
	arena.count--;
	emu_poison(at, area.size);
	first = round_up(area.base, PAGE);
	end = (area.base + area.size) / PAGE * PAGE;
	if (end > first)
		fallocate(arena.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)(first - (uintptr_t)arena.base),
			  (off_t)(end - first));
	error = cudaSuccess;
out:
	pthread_mutex_unlock(&arena.lock);
	return error;
}

int emu_area_file(const struct emu_area *area, size_t *offset)
{
	*offset = (size_t)(area->base - (uintptr_t)arena.base);
	return arena.fd;
}

/* Whole pages, in place of as many of ours that are never used. */
cudaError_t emu_area_import(void **out, int fd, size_t offset, size_t size)
{
	size_t skip = offset % PAGE, bytes = round_up(skip + size, PAGE);
	cudaError_t error = cudaErrorMapBufferObjectFailed;
	char *at;

	pthread_mutex_lock(&arena.lock);
	arena_open();
	at = arena.base + round_up(arena.used, PAGE);
	if (bytes > ARENA_BYTES - (size_t)(at - arena.base) - PAGE ||
	    mmap(at, bytes, arena.open ? PROT_READ | PROT_WRITE : PROT_NONE,
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd,
		 (off_t)(offset - skip)) == MAP_FAILED)
		goto out;
	arena.used = (size_t)(at - arena.base) + bytes;
	*out = at + skip;
	add(*out, size, EMU_DEVICE)->imported = true;
	error = cudaSuccess;
out:
	pthread_mutex_unlock(&arena.lock);
	return error;
}

cudaError_t emu_area_return(void *at)
{
	size_t skip = (uintptr_t)at % PAGE;
	cudaError_t error = cudaErrorInvalidValue;
	struct emu_area area;

	pthread_mutex_lock(&arena.lock);
	if (!drop(at, EMU_DEVICE, true, &area))
		goto out;
	if (mmap((char *)at - skip, round_up(skip + area.size, PAGE), PROT_NONE,
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, arena.fd,
		 (char *)at - skip - arena.base) == MAP_FAILED)
		emu_abort("mmap: %s", strerror(errno));
	error = cudaSuccess;
out:
	pthread_mutex_unlock(&arena.lock);
	return error;
}

EMU_EXPORT cudaError_t cudaMalloc(void **out, size_t size)
{
	EMU_CALL();
	if (!out)
		return emu_error(cudaErrorInvalidValue);
	*out = NULL;
	return size ? emu_error(emu_device_alloc(out, size)) : cudaSuccess;
}

EMU_EXPORT cudaError_t cudaFree(void *at)
{
	EMU_CALL();
	if (!at)
		return cudaSuccess;
	emu_device_wait();
	return emu_error(emu_device_free(at));
}

EMU_EXPORT cudaError_t cudaMallocAsync(void **out, size_t size,
				       cudaStream_t stream)
{
	(void)stream;
	EMU_CALL();
	if (!out)
		return emu_error(cudaErrorInvalidValue);
	*out = NULL;
	return size ? emu_error(emu_device_alloc(out, size)) : cudaSuccess;
}

static void run_free(struct emu_op *op)
{
	void *at;

	memcpy(&at, emu_payload(op), sizeof(at));
	emu_identity_leave();
	emu_device_free(at);
	emu_identity_enter();
}

EMU_EXPORT cudaError_t cudaFreeAsync(void *at, cudaStream_t stream)
{
	struct emu_area area;

	EMU_CALL();
	if (!at)
		return cudaSuccess;
	if (!emu_area_find(at, &area) || area.base != (uintptr_t)at)
		return emu_error(cudaErrorInvalidValue);
	return emu_error(
		emu_submit(stream, emu_op_new(run_free, &at, sizeof(at))));
}

EMU_EXPORT cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
	EMU_CALL();
	pthread_mutex_lock(&arena.lock);
	*total = arena.limit ? arena.limit : ARENA_BYTES;
	*available = *total - arena.live;
	pthread_mutex_unlock(&arena.lock);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaHostAlloc(void **out, size_t size, unsigned flags)
{
	void *at;

	EMU_CALL();
	if (!out || !size)
		return emu_error(cudaErrorInvalidValue);
	if (posix_memalign(&at, PAGE, size) != 0)
		return emu_error(cudaErrorMemoryAllocation);
	pthread_mutex_lock(&arena.lock);
	add(at, size, EMU_HOST)->flags = flags;
	pthread_mutex_unlock(&arena.lock);
	*out = at;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaMallocHost(void **out, size_t size)
{
	return cudaHostAlloc(out, size, 0);
}

EMU_EXPORT cudaError_t cudaFreeHost(void *at)
{
	struct emu_area area;
	bool found;

	EMU_CALL();
	if (!at)
		return cudaSuccess;
	emu_device_wait();
	pthread_mutex_lock(&arena.lock);
	found = drop(at, EMU_HOST, false, &area);
	pthread_mutex_unlock(&arena.lock);
	if (!found || area.registered)
		return emu_error(cudaErrorInvalidValue);
	free(at);
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaHostRegister(void *at, size_t size, unsigned flags)
{
	cudaError_t error = cudaSuccess;
	struct emu_area *area;

	EMU_CALL();
	if (!at || !size)
		return emu_error(cudaErrorInvalidValue);
	pthread_mutex_lock(&arena.lock);
	if (find(at) || find((char *)at + size - 1)) {
		error = cudaErrorHostMemoryAlreadyRegistered;
	} else {
		area = add(at, size, EMU_HOST);
		area->flags = flags;
		area->registered = true;
	}
	pthread_mutex_unlock(&arena.lock);
	return emu_error(error);
}

EMU_EXPORT cudaError_t cudaHostUnregister(void *at)
{
	struct emu_area area;
	bool found;

	EMU_CALL();
	pthread_mutex_lock(&arena.lock);
	found = drop(at, EMU_HOST, false, &area);
	pthread_mutex_unlock(&arena.lock);
	return emu_error(found ? cudaSuccess
			       : cudaErrorHostMemoryNotRegistered);
}

EMU_EXPORT cudaError_t cudaHostGetDevicePointer(void **out, void *at,
						unsigned flags)
{
	struct emu_area area;

	EMU_CALL();
	if (!out || flags || !emu_area_find(at, &area) || area.kind != EMU_HOST)
		return emu_error(cudaErrorInvalidValue);
	*out = at;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t cudaHostGetFlags(unsigned *out, void *at)
{
	struct emu_area area;

	EMU_CALL();
	if (!emu_area_find(at, &area) || area.kind != EMU_HOST)
		return emu_error(cudaErrorInvalidValue);
	*out = area.flags;
	return cudaSuccess;
}

EMU_EXPORT cudaError_t
cudaPointerGetAttributes(struct cudaPointerAttributes *out, const void *at)
{
	struct emu_area area = {.kind = EMU_NONE};

	EMU_CALL();
	if (!out)
		return emu_error(cudaErrorInvalidValue);
	emu_area_find(at, &area);
	memset(out, 0, sizeof(*out));
	out->type = area.kind == EMU_DEVICE ? cudaMemoryTypeDevice
		    : area.kind == EMU_HOST ? cudaMemoryTypeHost
					    : cudaMemoryTypeUnregistered;
	out->device = area.kind == EMU_NONE ? -2 : area.device;
	if (area.kind != EMU_NONE)
		out->devicePointer = (void *)at;
	if (area.kind == EMU_HOST)
		out->hostPointer = (void *)at;
	return cudaSuccess;
}
