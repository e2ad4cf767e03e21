/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers: one per CUDA thread of a block, all on the stream's thread. */
#ifndef KVR_TESTS_EMULATED_CUDA_FIBER_H
#define KVR_TESTS_EMULATED_CUDA_FIBER_H

#include <stddef.h>

struct emu_fiber {
	void *sp; /* or its ucontext */
	void *stack;
	size_t stack_bytes;
	void *fake_stack; /* the address sanitizer's */
	void *identity;	  /* the thread sanitizer's */
	void (*entry)(void *argument);
	void *argument;
};

/* A stack of its own, from the thread's store, and an identity. */
void emu_fiber_open(struct emu_fiber *fiber, void (*entry)(void *),
		    void *argument);
void emu_fiber_close(struct emu_fiber *fiber);
/* What the thread runs already; only to be switched from, and back to. */
void emu_fiber_adopt(struct emu_fiber *fiber);
void emu_fiber_disown(struct emu_fiber *fiber);
/* From the running fiber, or the thread itself, to another. */
void emu_fiber_switch(struct emu_fiber *from, struct emu_fiber *to);
/* The running one is over; does not return. */
_Noreturn void emu_fiber_leave(struct emu_fiber *from, struct emu_fiber *to);
/* Gives back what the store of this thread holds. */
void emu_fiber_stacks_free(void);

#endif
