/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sanitizers' interfaces. Under the thread sanitizer every stream and
 * every CUDA thread has an identity (a fiber of the sanitizer) of its own, and
 * switching between them orders nothing: two accesses are ordered by a
 * barrier, a stream or an event, or they race, in whatever order they ran.
 */
#include <stdint.h>

#include "tests/emulated_cuda/internal.h"

#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN
#endif

void emu_copy_quiet(void *to, const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
		__asm__ volatile("" ::: "memory"); /* no memcpy of it */
	}
}

#ifdef EMU_TSAN
#include <sanitizer/tsan_interface.h>

const bool emu_tsan = true;

void __tsan_java_alloc(uintptr_t at, uintptr_t size);
void __tsan_read_range(const void *at, uintptr_t size);
void __tsan_write_range(void *at, uintptr_t size);

void *emu_identity_new(void)
{
	return __tsan_create_fiber(0);
}

void emu_identity_free(void *identity)
{
	__tsan_destroy_fiber(identity);
}

void *emu_identity_now(void)
{
	return __tsan_get_current_fiber();
}

void emu_identity_switch(void *identity)
{
	__tsan_switch_to_fiber(identity, __tsan_switch_to_fiber_no_sync);
}

void emu_acquire(void *at)
{
	__tsan_acquire(at);
}

void emu_release(void *at)
{
	__tsan_release(at);
}

/*
 * The sanitizer's interface for managed languages is the only one that makes
 * it forget what is known of any range. No such heap is announced: to describe
 * an address in it, a report would look at every word below.
 */
void emu_forget(void *at, size_t bytes)
{
	uintptr_t first = ((uintptr_t)at + 7) & ~(uintptr_t)7;
	uintptr_t end = ((uintptr_t)at + bytes) & ~(uintptr_t)7;

	if (end > first)
		__tsan_java_alloc(first, end - first);
}

void emu_touch_read(const void *at, size_t bytes)
{
	emu_area_check("an operation reads", at, bytes);
	if (bytes)
		__tsan_read_range(at, bytes);
}

void emu_touch_write(void *at, size_t bytes)
{
	emu_area_check("an operation writes", at, bytes);
	if (bytes)
		__tsan_write_range(at, bytes);
}

#else
const bool emu_tsan = false;

void *emu_identity_new(void)
{
	return NULL;
}

void emu_identity_free(void *identity)
{
	(void)identity;
}

void *emu_identity_now(void)
{
	return NULL;
}

void emu_identity_switch(void *identity)
{
	(void)identity;
}

void emu_acquire(void *at)
{
	(void)at;
}

void emu_release(void *at)
{
	(void)at;
}

void emu_forget(void *at, size_t bytes)
{
	(void)at;
	(void)bytes;
}

void emu_touch_read(const void *at, size_t bytes)
{
	emu_area_check("an operation reads", at, bytes);
}

void emu_touch_write(void *at, size_t bytes)
{
	emu_area_check("an operation writes", at, bytes);
}
#endif

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>

void emu_poison(void *at, size_t bytes)
{
	__asan_poison_memory_region(at, bytes);
}

void emu_unpoison(void *at, size_t bytes)
{
	__asan_unpoison_memory_region(at, bytes);
}
#else
void emu_poison(void *at, size_t bytes)
{
	(void)at;
	(void)bytes;
}

void emu_unpoison(void *at, size_t bytes)
{
	(void)at;
	(void)bytes;
}
#endif
