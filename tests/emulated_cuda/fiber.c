/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/emulated_cuda/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/emulated_cuda/internal.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

/*
 * A report of a sanitizer is written on the stack where the fault is, and
 * needs room; untouched pages cost nothing.
 */
#define STACK_BYTES ((size_t)256 << 10)
#define GUARD_BYTES ((size_t)4096)
/* Of a stack, what a kernel is taken to use: see emu_fiber_open. */
#define STACK_USED ((size_t)32 << 10)

static _Thread_local void *spare; /* stacks, linked through their top */

static void **link_of(void *stack)
{
	return (void **)((char *)stack + STACK_BYTES) - 1;
}

static void *stack_take(void)
{
	void *stack = spare;

	if (stack) {
		spare = *link_of(stack);
		return stack;
	}
	stack = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stack == MAP_FAILED || mprotect(stack, GUARD_BYTES, PROT_NONE) != 0)
		emu_abort("no memory for a fiber's stack");
	return (char *)stack + GUARD_BYTES;
}

void emu_fiber_stacks_free(void)
{
	while (spare) {
		void *stack = spare;

		spare = *link_of(stack);
		munmap((char *)stack - GUARD_BYTES, STACK_BYTES + GUARD_BYTES);
	}
}

#if defined(__x86_64__)
/* (void **save, void *load): what a called function has to preserve. */
void emu_fiber_swap(void **save, void *load);
__asm__(".text\n"
	".type emu_fiber_swap, @function\n"
	".globl emu_fiber_swap\n"
	".hidden emu_fiber_swap\n"
	"emu_fiber_swap:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size emu_fiber_swap, .-emu_fiber_swap\n");

static _Thread_local struct emu_fiber *starting;

static void begin(void)
{
	struct emu_fiber *fiber = starting;

#if defined(__SANITIZE_ADDRESS__)
	__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
	fiber->entry(fiber->argument);
	emu_abort("a fiber returned");
}

static void prepare(struct emu_fiber *fiber)
{
	/* Aligned as after a call: 6 registers, begin, no return address. */
	void **top = (void **)((char *)fiber->stack + STACK_BYTES) - 2;

	*--top = NULL;
	*--top = (void *)begin;
	for (int i = 0; i < 6; i++)
		*--top = NULL;
	fiber->sp = top;
}

static void swap(struct emu_fiber *from, struct emu_fiber *to)
{
	starting = to;
	emu_fiber_swap(&from->sp, to->sp);
}

static void discard(struct emu_fiber *fiber)
{
	fiber->sp = NULL;
}
#else
#include <ucontext.h>

static _Thread_local struct emu_fiber *starting;

static void begin(void)
{
	struct emu_fiber *fiber = starting;

#if defined(__SANITIZE_ADDRESS__)
	__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
	fiber->entry(fiber->argument);
	emu_abort("a fiber returned");
}

static ucontext_t *context_new(void)
{
	ucontext_t *context = emu_new(1, sizeof(*context));

	return context;
}

static void prepare(struct emu_fiber *fiber)
{
	ucontext_t *context = context_new();

	getcontext(context);
	context->uc_stack.ss_sp = fiber->stack;
	context->uc_stack.ss_size = STACK_BYTES - 2 * sizeof(void *);
	makecontext(context, begin, 0);
	fiber->sp = context;
}

static void swap(struct emu_fiber *from, struct emu_fiber *to)
{
	if (!from->sp)
		from->sp = context_new();
	starting = to;
	swapcontext(from->sp, to->sp);
}

static void discard(struct emu_fiber *fiber)
{
	free(fiber->sp);
	fiber->sp = NULL;
}
#endif

/*
 * The stack had another thread's variables: forgotten, or two CUDA threads
 * that used it one after the other would seem to race. A kernel with more than
 * STACK_USED of local memory would.
 */
void emu_fiber_open(struct emu_fiber *fiber, void (*entry)(void *),
		    void *argument)
{
	*fiber = (struct emu_fiber){
		.stack = stack_take(),
		.stack_bytes = STACK_BYTES,
		.identity = emu_identity_new(),
		.entry = entry,
		.argument = argument,
	};
	emu_forget((char *)fiber->stack + STACK_BYTES - STACK_USED, STACK_USED);
	emu_unpoison(fiber->stack, STACK_BYTES);
	prepare(fiber);
}

void emu_fiber_close(struct emu_fiber *fiber)
{
	discard(fiber);
	emu_identity_free(fiber->identity);
	*link_of(fiber->stack) = spare;
	spare = fiber->stack;
}

void emu_fiber_adopt(struct emu_fiber *fiber)
{
	*fiber = (struct emu_fiber){.identity = emu_identity_now()};
#if defined(__SANITIZE_ADDRESS__)
	pthread_attr_t attr;

	if (pthread_getattr_np(pthread_self(), &attr) != 0)
		emu_abort("the thread's stack is not known");
	pthread_attr_getstack(&attr, &fiber->stack, &fiber->stack_bytes);
	pthread_attr_destroy(&attr);
#endif
}

void emu_fiber_disown(struct emu_fiber *fiber)
{
	discard(fiber);
}

void emu_fiber_switch(struct emu_fiber *from, struct emu_fiber *to)
{
#if defined(__SANITIZE_ADDRESS__)
	__sanitizer_start_switch_fiber(&from->fake_stack, to->stack,
				       to->stack_bytes);
#endif
	emu_identity_switch(to->identity);
	swap(from, to);
#if defined(__SANITIZE_ADDRESS__)
	__sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

_Noreturn void emu_fiber_leave(struct emu_fiber *from, struct emu_fiber *to)
{
#if defined(__SANITIZE_ADDRESS__)
	__sanitizer_start_switch_fiber(NULL, to->stack, to->stack_bytes);
#endif
	emu_identity_switch(to->identity);
	swap(from, to);
	emu_abort("a fiber went on after its end");
}
