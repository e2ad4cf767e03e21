/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma/verbs/reach.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdma/verbs/loopback.h"

/* One climb: what is wished, what is known, and what came of the rungs. */
struct climb {
	struct verbs_transport *t;
	const struct verbs_wish *wish;
	const struct kvr_pointer_info *pointer;
	const struct kvr_accelerator_ops *gpu; /* NULL: host memory */
	struct verbs_ladder_facts facts;
	struct verbs_ladder ladder;
	char tried[VERBS_WHY_BYTES]; /* rungs that did not hold, and why */
};

static const char *name_of(const struct verbs_device *device)
{
	return ibv_get_device_name(device->context->device);
}

enum kvr_status verbs_what_is(const struct verbs_transport *t,
			      const void *address, struct kvr_pointer_info *out)
{
	const struct kvr_accelerator_ops *gpu =
		t->gpu.present ? t->gpu.present() : NULL;

	*out = (struct kvr_pointer_info){.kind = KVR_POINTER_HOST};
	return gpu ? gpu->pointer_query(address, out) : KVR_OK;
}

int verbs_maps_dmabuf(struct ibv_context *context)
{
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_mr *mr;
	int answer = -1;

	if (!pd)
		return -1;
	/*
	 * A file descriptor that cannot be one. A driver without dma-buf says
	 * that it does not support the call; one with it looks the descriptor
	 * up, and fails at that.
	 */
	errno = 0;
	mr = ibv_reg_dmabuf_mr(pd, 0, 0, 0, -1, 0);
	if (mr)
		ibv_dereg_mr(mr);
	else if (errno == EOPNOTSUPP || errno == EPROTONOSUPPORT)
		answer = 0;
	else if (errno == EBADF)
		answer = 1;
	ibv_dealloc_pd(pd);
	return answer;
}

/* --------------------------------------------------------------- facts */

static void ask_rail(struct climb *c, const struct verbs_device *device)
{
	struct verbs_ladder_facts *f = &c->facts;
	int maps = verbs_maps_dmabuf(device->context);

	/* No outweighs "not known", which outweighs yes. */
	if (maps == 0 || (maps < 0 && f->nic_dmabuf == 1))
		f->nic_dmabuf = maps;
	if (!verbs_same_switch(c->t->sysfs, name_of(device),
			       f->gpu.pci_address))
		f->same_switch = false;
}

static enum kvr_status ask(struct climb *c)
{
	char reason[VERBS_WHY_BYTES];
	enum kvr_status status;

	c->facts = (struct verbs_ladder_facts){
		.pointer = *c->pointer,
		.nic_dmabuf = 1,
		.same_switch = true,
		.wanted = c->t->gpu.way,
		.pcie = c->t->gpu.pcie,
	};
	kvr_gpu_info_init(&c->facts.gpu);
	if (!c->gpu)
		return KVR_OK;
	status = c->gpu->device_info(c->pointer->device, &c->facts.gpu, reason,
				     sizeof(reason));
	if (status != KVR_OK) {
		kvr_log(c->t->log, KVR_LOG_ERROR, "GPU %" PRIu32 ": %s",
			c->pointer->device,
			status == KVR_ERR_END ? "there is none" : reason);
		return KVR_ERR_DEVICE;
	}
	c->facts.peermem = verbs_peermem_loaded(c->t->sysfs);
	for (uint32_t rail = 0; rail < c->t->rails; rail++)
		ask_rail(c, &c->t->device[rail]);
	return KVR_OK;
}

/* A card reads without asking a stream: copies must be over when they say so.
 */
static void order_copies(struct climb *c)
{
	char reason[VERBS_WHY_BYTES];

	if (c->gpu->memory->order_copies(c->wish->address, reason,
					 sizeof(reason)) == KVR_OK)
		return;
	kvr_log(c->t->log, KVR_LOG_INFO,
		"verbs: %s: %s: wait for copies into it with "
		"cudaStreamSynchronize",
		c->wish->what, reason);
}

/* ------------------------------------------------------------ register */

__attribute__((format(printf, 3, 4))) static void
note(struct climb *c, const struct verbs_step *step, const char *format, ...)
{
	size_t used = strlen(c->tried);
	va_list args;

	snprintf(c->tried + used, sizeof(c->tried) - used,
		 "%s%s%s: ", used ? "; " : "", verbs_rung_name(step->rung),
		 step->pcie ? " by PCIe" : "");
	used = strlen(c->tried);
	va_start(args, format);
	vsnprintf(c->tried + used, sizeof(c->tried) - used, format, args);
	va_end(args);
}

struct ibv_mr *verbs_register_by(const struct verbs_step *step,
				 struct ibv_pd *pd, void *address, size_t bytes,
				 int access, int fd, uint64_t offset)
{
	errno = 0;
	if (step->rung == VERBS_RUNG_DMABUF)
		return ibv_reg_dmabuf_mr(pd, offset, bytes,
					 (uint64_t)(uintptr_t)address, fd,
					 access);
	return ibv_reg_mr(pd, address, bytes, access);
}

static enum kvr_status register_failed(struct climb *c,
				       const struct verbs_step *step,
				       uint32_t rail, size_t bytes)
{
	const struct verbs_device *device = &c->t->device[rail];
	const int error = errno;
	char hint[VERBS_WHY_BYTES], operation[96];

	if (step->rung == VERBS_RUNG_HOST) {
		snprintf(operation, sizeof(operation), "register %s, %zu bytes",
			 c->wish->what, bytes);
		return verbs_errno(c->t->log, name_of(device), operation);
	}
	verbs_ladder_hint(
		step, error, bytes,
		verbs_bar1_bytes(c->t->sysfs, c->facts.gpu.pci_address),
		&c->facts.gpu, hint, sizeof(hint));
	note(c, step, "%s on %s: %s%s",
	     step->rung == VERBS_RUNG_DMABUF ? "ibv_reg_dmabuf_mr"
					     : "ibv_reg_mr",
	     name_of(device), strerror(error), hint);
	return KVR_ERR_UNSUPPORTED;
}

/* Every part on every rail; fd and pages: of the dma-buf, if it is one. */
static enum kvr_status register_all(struct climb *c,
				    const struct verbs_step *step,
				    struct verbs_memory *memory, int fd,
				    const struct verbs_pages *pages)
{
	const struct verbs_wish *w = c->wish;

	for (uint32_t part = 0; part < memory->parts; part++) {
		const size_t begin = memory->part_bytes * part;
		size_t bytes = w->bytes - begin;

		if (bytes > memory->part_bytes)
			bytes = memory->part_bytes;
		for (uint32_t rail = 0; rail < c->t->rails; rail++) {
			struct ibv_mr **mr = &memory->part[part].mr[rail];

			*mr = verbs_register_by(step, w->pd[rail],
						(uint8_t *)w->address + begin,
						bytes, w->access, fd,
						pages->offset + begin);
			if (!*mr)
				return register_failed(c, step, rail, bytes);
		}
	}
	return KVR_OK;
}

static void forget_all(struct verbs_memory *memory)
{
	for (uint32_t i = 0; i < memory->parts; i++) {
		for (uint32_t rail = 0; rail < VERBS_RAILS_MAX; rail++) {
			struct ibv_mr **mr = &memory->part[i].mr[rail];

			if (*mr)
				ibv_dereg_mr(*mr);
			*mr = NULL;
		}
	}
}

/* Once for each GPU and way: it allocates there. */
static bool proven(const struct climb *c, const struct verbs_step *step)
{
	const struct verbs_transport *t = c->t;

	for (uint32_t i = 0; i < t->proof_count; i++)
		if (t->proof[i].device == c->pointer->device &&
		    t->proof[i].step.rung == step->rung &&
		    t->proof[i].step.pcie == step->pcie)
			return true;
	return false;
}

static void remember(struct climb *c, const struct verbs_step *step)
{
	struct verbs_transport *t = c->t;

	if (t->proof_count == VERBS_PROOFS_MAX)
		return;
	t->proof[t->proof_count++] =
		(struct verbs_proof){c->pointer->device, *step};
}

/* Does a write by each card arrive, and a read? See loopback.h. */
static enum kvr_status prove_all(struct climb *c, const struct verbs_step *step)
{
	char reason[VERBS_WHY_BYTES];

	for (uint32_t rail = 0; rail < c->t->rails; rail++) {
		enum kvr_status status = verbs_loopback_prove(
			&c->t->device[rail], c->gpu, c->pointer->device, step,
			reason, sizeof(reason));

		if (status == KVR_OK)
			continue;
		note(c, step, "%s: %s", name_of(&c->t->device[rail]), reason);
		return KVR_ERR_UNSUPPORTED;
	}
	remember(c, step);
	return KVR_OK;
}

/* Memory is registered by whoever calls, and slots by who opens a ring. */
static enum kvr_status prove(struct climb *c, const struct verbs_step *step)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	enum kvr_status status = KVR_OK;

	pthread_mutex_lock(&lock);
	if (!proven(c, step))
		status = prove_all(c, step);
	pthread_mutex_unlock(&lock);
	return status;
}

static enum kvr_status try_step(struct climb *c, const struct verbs_step *step,
				struct verbs_memory *memory)
{
	const struct verbs_pages pages =
		verbs_pages_of((uint64_t)(uintptr_t)c->wish->address,
			       c->wish->bytes, (size_t)sysconf(_SC_PAGESIZE));
	char reason[VERBS_WHY_BYTES];
	enum kvr_status status;
	int fd = -1;

	if (c->gpu && step->rung == VERBS_RUNG_DMABUF) {
		status = c->gpu->memory->export_dmabuf(
			(const void *)(uintptr_t)pages.start, pages.bytes,
			step->pcie, &fd, reason, sizeof(reason));
		if (status != KVR_OK) {
			note(c, step, "%s", reason);
			return KVR_ERR_UNSUPPORTED;
		}
	}
	status = register_all(c, step, memory, fd, &pages);
	/* The registration holds the dma-buf by itself. */
	if (fd >= 0)
		close(fd);
	if (status == KVR_OK && step->rung != VERBS_RUNG_HOST)
		status = prove(c, step);
	if (status != KVR_OK)
		forget_all(memory);
	else
		memory->step = *step;
	return status;
}

/* --------------------------------------------------------------- climb */

static void say(const struct climb *c, const struct verbs_memory *memory,
		const struct verbs_step *step)
{
	const char *tried = c->tried, *skipped = c->ladder.skipped;

	/* What comes after the first rung does not matter then. */
	if (memory && memory->step.rung == VERBS_RUNG_DMABUF)
		skipped = "";

	kvr_log(c->t->log, memory ? KVR_LOG_INFO : KVR_LOG_WARNING,
		"verbs: %s, %zu KiB on GPU %" PRIu32 " (%s): %s%s%s%s%s%s",
		c->wish->what, c->wish->bytes >> 10, c->pointer->device,
		c->facts.gpu.name,
		memory ? verbs_rung_name(memory->step.rung)
		       : "no card reaches it",
		memory && step->pcie ? " by PCIe" : "",
		*tried || *skipped ? "; not " : "", tried,
		*tried && *skipped ? "; " : "", skipped);
}

static enum kvr_status climb(struct climb *c, struct verbs_memory *memory)
{
	enum kvr_status status = KVR_ERR_UNSUPPORTED;

	for (uint32_t i = 0; i < c->ladder.count; i++) {
		const struct verbs_step *step = &c->ladder.step[i];

		status = try_step(c, step, memory);
		if (status == KVR_OK && c->gpu)
			say(c, memory, step);
		if (status != KVR_ERR_UNSUPPORTED)
			return status;
	}
	say(c, NULL, NULL);
	return KVR_ERR_UNSUPPORTED;
}

/* In one part where every card takes it; else in equal ones of whole pages. */
static struct verbs_memory *blank(const struct verbs_transport *t,
				  const struct verbs_wish *wish)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t part = wish->bytes, parts;
	struct verbs_memory *memory;

	for (uint32_t rail = 0; rail < t->rails; rail++) {
		const uint64_t most = t->device[rail].attr.max_mr_size;

		if (most >= page && part > most)
			part = (size_t)(most / page * page);
	}
	parts = (wish->bytes + part - 1) / part;
	memory = calloc(1, sizeof(*memory) + parts * sizeof(memory->part[0]));
	if (!memory)
		return NULL;
	memory->address = (uint64_t)(uintptr_t)wish->address;
	memory->bytes = wish->bytes;
	memory->part_bytes = part;
	memory->parts = (uint32_t)parts;
	return memory;
}

enum kvr_status verbs_reach(struct verbs_transport *t,
			    const struct verbs_wish *wish,
			    const struct kvr_pointer_info *pointer,
			    struct verbs_memory **out)
{
	static const struct kvr_pointer_info host = {.kind = KVR_POINTER_HOST};
	struct climb c = {.t = t, .wish = wish, .pointer = &host};
	struct verbs_memory *memory;
	enum kvr_status status;

	*out = NULL;
	if (pointer && pointer->kind != KVR_POINTER_HOST &&
	    pointer->kind != KVR_POINTER_PINNED) {
		c.pointer = pointer;
		c.gpu = t->gpu.present();
	}
	status = ask(&c);
	if (status != KVR_OK)
		return status;
	verbs_ladder_plan(&c.facts, &c.ladder);
	memory = blank(t, wish);
	if (!memory)
		return KVR_ERR_NO_MEMORY;
	if (c.gpu && c.ladder.count)
		order_copies(&c);
	status = climb(&c, memory);
	if (status != KVR_OK) {
		free(memory);
		return status;
	}
	*out = memory;
	return KVR_OK;
}

void verbs_unreach(struct verbs_memory *memory)
{
	if (!memory)
		return;
	forget_all(memory);
	free(memory);
}
