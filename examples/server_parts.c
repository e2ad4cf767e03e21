/* SPDX-License-Identifier: Apache-2.0 */
#include "server_parts.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>

enum { HEADS = 4, DIM = 32, ROW = HEADS * DIM };

/* A server's own memory for q, k, v and out; here of any share of a batch. */
static float rows_of[4][SERVER_TOKENS_MAX * ROW];

struct watch {
	struct kvr_plan *plan;
	int64_t deadline_ns; /* 0: somebody else watches */
};

static int64_t now_ns(void)
{
	struct timespec now;

	timespec_get(&now, TIME_UTC);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void request_read(struct request *out)
{
	unsigned long tokens = 0, deadline_ms = 0;
	char line[64];

	if (!fgets(line, sizeof(line), stdin) ||
	    sscanf(line, "%lu %lu", &tokens, &deadline_ms) != 2 ||
	    tokens > SERVER_TOKENS_MAX)
		tokens = 0;
	out->tokens = tokens;
	out->deadline_ns = now_ns() + (int64_t)deadline_ms * 1000000;
}

/* Between steps: does anybody still wait for the answer? */
static void on_step(void *arg, uint32_t done, uint32_t steps)
{
	struct watch *watch = arg;

	if (watch->deadline_ns && done < steps &&
	    now_ns() >= watch->deadline_ns)
		(void)!kvr_pass_cancel(kvr_plan_pass(watch->plan));
}

static void describe(struct kvr_plan_desc *desc)
{
	kvr_plan_desc_init(desc);
	desc->q_heads = HEADS;
	desc->kv_heads = HEADS;
	desc->head_dim = DIM;
	desc->mask = KVR_MASK_CAUSAL;
}

static enum kvr_status block_bytes(uint32_t n, size_t *out)
{
	struct kvr_plan_desc desc;

	describe(&desc);
	return kvr_attention_block_bytes(&desc, SERVER_TOKENS_MAX / n + 2,
					 KVR_ZIGZAG_RANGES, out);
}

enum kvr_status server_join(struct server *s)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct kvr_ring_options options;
	enum kvr_status status;
	int fd;

	kvr_bootstrap_close(&s->who);
	status = kvr_bootstrap_open(NULL, &s->who);
	if (status == KVR_OK && s->ring) {
		status = kvr_ring_reopen(&s->ring, &s->who);
	} else if (status == KVR_OK) {
		kvr_ring_options_init(&options);
		status = block_bytes(s->who.n, &options.lane[0].slot_bytes);
		if (status == KVR_OK)
			status = kvr_ring_open(s->context, &s->who, &options,
					       &s->ring);
	}
	if (status == KVR_OK)
		status = kvr_ring_event_fd(s->ring, &fd);
	if (status != KVR_OK)
		return status;
	event.data.fd = fd;
	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event)
		       ? KVR_ERR_SYSTEM
		       : KVR_OK;
}

/* What a model would have put there; of a position, whoever holds it. */
static size_t fill_in(const struct kvr_range *ranges, size_t count)
{
	size_t row = 0;

	for (size_t i = 0; i < count; i++) {
		for (uint64_t j = 0; j < ranges[i].length; j++, row++) {
			uint64_t position = ranges[i].start + j;

			for (size_t e = 0; e < ROW; e++) {
				size_t at = row * ROW + e;

				rows_of[0][at] = (float)(position % 5) / 8;
				rows_of[1][at] = (float)(e % 7) / 8;
				rows_of[2][at] = (float)(position + e);
			}
		}
	}
	return row;
}

static enum kvr_status run(struct kvr_plan *plan, size_t rows)
{
	struct kvr_tensor t[4];
	enum kvr_status status;

	for (int i = 0; i < 4; i++)
		t[i] = kvr_tensor_dense(rows_of[i], KVR_F32, rows, HEADS, DIM);
	status = kvr_attention_run(plan, &t[0], &t[1], &t[2], &t[3], NULL, 0);
	if (status == KVR_OK && rows)
		printf("last row %.3f\n", (double)rows_of[3][(rows - 1) * ROW]);
	return status;
}

enum kvr_status batch_serve(struct kvr_ring *ring, const struct request *r)
{
	struct kvr_range mine[KVR_ZIGZAG_RANGES];
	struct watch watch = {0};
	struct kvr_plan_desc desc;
	enum kvr_status status;
	size_t count;

	status = kvr_ranges_zigzag(r->tokens, kvr_ring_rank(ring),
				   kvr_ring_size(ring), mine, &count);
	if (status != KVR_OK)
		return status;
	describe(&desc);
	desc.q_ranges = mine;
	desc.kv_ranges = mine;
	desc.q_range_count = count;
	desc.kv_range_count = count;
	desc.on_step = on_step;
	desc.on_step_arg = &watch;
	if (kvr_ring_rank(ring) == 0)
		watch.deadline_ns = r->deadline_ns;
	status = kvr_plan_create(ring, &desc, &watch.plan);
	if (status == KVR_OK)
		status = run(watch.plan, fill_in(mine, count));
	kvr_plan_destroy(watch.plan);
	return status;
}
