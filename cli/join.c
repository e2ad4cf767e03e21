/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks of several commands meet. Each was told what to do by itself, so they
 * compare that first, and whether each can begin: what one cannot, all learn,
 * and rank 0 says it.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/random.h"
#include "cli/rank.h"

enum {
	SAME_REPORT,
	SAME_TOKENS,
	SAME_SEQUENCES,
	SAME_CU_SEQLENS,
	SAME_Q_HEADS,
	SAME_KV_HEADS,
	SAME_HEAD_DIM,
	SAME_VALUE_DIM,
	SAME_VALUES_IN_KEYS,
	SAME_DTYPE,
	SAME_CAUSAL,
	SAME_SCALE,
	SAME_SOFTCAP,
	SAME_WINDOW_LEFT,
	SAME_WINDOW_RIGHT,
	SAME_SINKS,
	SAME_KV_WIRE,
	SAME_INTEGRITY,
	SAME_PARTITION,
	SAME_STRIPE,
	SAME_SLOTS,
	SAME_CHUNK,
	SAME_F32_OUTPUT,
	SAME_CHUNKS,
	SAME_PAGE_TOKENS,
	SAME_COUNT
};

static const char *const names[SAME_COUNT] = {
	[SAME_REPORT] = "the version of kvring",
	[SAME_TOKENS] = "the input's number of tokens",
	[SAME_SEQUENCES] = "the input's number of sequences",
	[SAME_CU_SEQLENS] = "the hash of the input's cu_seqlens",
	[SAME_Q_HEADS] = "the input's heads of q",
	[SAME_KV_HEADS] = "the input's heads of k",
	[SAME_HEAD_DIM] = "the input's head dimension",
	[SAME_VALUE_DIM] = "the input's dimension of v",
	[SAME_VALUES_IN_KEYS] = "--values-in-keys",
	[SAME_DTYPE] = "the input's type",
	[SAME_CAUSAL] = "--causal",
	[SAME_SCALE] = "--scale (bits)",
	[SAME_SOFTCAP] = "--softcap (bits)",
	[SAME_WINDOW_LEFT] = "--window's left, plus 1",
	[SAME_WINDOW_RIGHT] = "--window's right, plus 1",
	[SAME_SINKS] = "whether the input has sinks",
	[SAME_KV_WIRE] = "--kv-wire",
	[SAME_INTEGRITY] = "--integrity",
	[SAME_PARTITION] = "--partition",
	[SAME_STRIPE] = "--partition's stripe",
	[SAME_SLOTS] = "--slots",
	[SAME_CHUNK] = "--chunk",
	[SAME_F32_OUTPUT] = "--f32-output",
	[SAME_CHUNKS] = "--chunks",
	[SAME_PAGE_TOKENS] = "--page-tokens",
};

struct introduction {
	uint64_t same[SAME_COUNT];
	char machine[40]; /* its boot id */
	cpu_set_t processors;
	uint32_t failed, usage;
	char text[440];
};

/* ------------------------------------------------------------- telling */

static void tell_machine(struct introduction *mine)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, mine->machine, sizeof(mine->machine) - 1) < 0)
			mine->machine[0] = '\0';
		close(fd);
	}
	if (sched_getaffinity(0, sizeof(mine->processors), &mine->processors))
		CPU_ZERO(&mine->processors);
}

/* Against slips: inputs that somebody else made are no threat here. */
static uint64_t hash_of(const uint64_t *cu_seqlens, size_t sequences)
{
	uint64_t hash = 0;
	size_t i;

	for (i = 1; i <= sequences; i++)
		hash = random_bits(hash, i, cu_seqlens[i]);
	return hash;
}

static void tell_job(const struct attention_job *job, struct introduction *mine)
{
	const struct attention_options *o = job->options;
	const struct attention_input *in = job->input;
	uint32_t scale, softcap;

	memcpy(&scale, &o->scale, sizeof(scale));
	memcpy(&softcap, &o->softcap, sizeof(softcap));
	mine->same[SAME_REPORT] = sizeof(struct rank_report);
	mine->same[SAME_TOKENS] = in->tokens;
	mine->same[SAME_SEQUENCES] = in->sequences;
	mine->same[SAME_CU_SEQLENS] = hash_of(in->cu_seqlens, in->sequences);
	mine->same[SAME_Q_HEADS] = in->q_heads;
	mine->same[SAME_KV_HEADS] = in->kv_heads;
	mine->same[SAME_HEAD_DIM] = in->head_dim;
	mine->same[SAME_VALUE_DIM] = in->value_dim;
	mine->same[SAME_VALUES_IN_KEYS] = in->values_in_keys;
	mine->same[SAME_DTYPE] = in->dtype;
	mine->same[SAME_CAUSAL] = o->causal;
	mine->same[SAME_SCALE] = scale;
	mine->same[SAME_SOFTCAP] = softcap;
	mine->same[SAME_WINDOW_LEFT] = (uint64_t)o->window.left + 1;
	mine->same[SAME_WINDOW_RIGHT] = (uint64_t)o->window.right + 1;
	mine->same[SAME_SINKS] = in->sinks != NULL;
	mine->same[SAME_KV_WIRE] = o->kv_wire;
	mine->same[SAME_INTEGRITY] = o->integrity;
	mine->same[SAME_PARTITION] = o->partition;
	mine->same[SAME_STRIPE] = o->stripe;
	mine->same[SAME_SLOTS] = o->slots;
	mine->same[SAME_CHUNK] = o->chunk_bytes;
	mine->same[SAME_F32_OUTPUT] = o->f32_output;
	mine->same[SAME_CHUNKS] = o->chunks;
	mine->same[SAME_PAGE_TOKENS] = o->page_tokens;
}

/* -n may be given under an engine, too, if it is right. */
static void tell_trouble(const struct rank *r, struct introduction *mine)
{
	const struct attention_options *o = r->job->options;
	uint32_t n = r->bootstrap.n;

	if (r->job->early) {
		mine->failed = 1;
		mine->usage = r->job->early_usage;
		snprintf(mine->text, sizeof(mine->text), "%.430s",
			 r->job->early->text);
	} else if (o->place.n > 0 && o->place.n != n) {
		mine->failed = mine->usage = 1;
		snprintf(mine->text, sizeof(mine->text),
			 "-n: %u, but %u ranks were started; leave -n out",
			 o->place.n, n);
	} else if (n > LAUNCH_RANKS_MAX) {
		mine->failed = mine->usage = 1;
		snprintf(mine->text, sizeof(mine->text),
			 "%u ranks were started, at most %d make a ring; start "
			 "fewer",
			 n, LAUNCH_RANKS_MAX);
	} else if (o->slots == 1 && n > 2) {
		mine->failed = mine->usage = 1;
		snprintf(mine->text, sizeof(mine->text),
			 "--slots: 1 is not enough for more than 2 ranks; use "
			 "at least 2");
	}
}

/* ----------------------------------------------------------- comparing */

/* Everybody comes to this; rank 0 alone may have to say it. */
static bool fail_together(struct rank *r, const char *text, bool usage)
{
	snprintf(r->report->text, sizeof(r->report->text), "%.500s", text);
	r->report->common = true;
	r->report->usage = usage;
	return false;
}

static bool check_trouble(struct rank *r, const struct introduction *i,
			  uint32_t rank)
{
	char text[512];

	if (!i->failed)
		return true;
	if (rank == r->number || i->usage)
		return fail_together(r, i->text, i->usage);
	snprintf(text, sizeof(text), "rank %u cannot begin: %.440s", rank,
		 i->text);
	return fail_together(r, text, false);
}

static bool check_same(struct rank *r, const struct introduction *first,
		       const struct introduction *other, uint32_t rank)
{
	char text[256];
	int i;

	for (i = 0; i < SAME_COUNT; i++) {
		if (other->same[i] == first->same[i])
			continue;
		snprintf(text, sizeof(text),
			 "%s differs: %" PRIu64 " on rank 0, %" PRIu64
			 " on rank %u; give all ranks the same command and "
			 "input",
			 names[i], first->same[i], other->same[i], rank);
		return fail_together(r, text, false);
	}
	return true;
}

/* Ranks that an engine bound to processors of their own share them not. */
static uint32_t sharers(const struct introduction *all, uint32_t n,
			const struct introduction *mine)
{
	uint32_t count = 0, i;

	for (i = 0; i < n; i++)
		if (!strcmp(all[i].machine, mine->machine) &&
		    CPU_EQUAL(&all[i].processors, &mine->processors))
			count++;
	return count;
}

static bool compare(struct rank *r, struct introduction *all)
{
	struct attention_job *job = r->job;
	uint32_t n = r->bootstrap.n, i;

	for (i = 0; i < n; i++)
		all[i].machine[sizeof(all[i].machine) - 1] =
			all[i].text[sizeof(all[i].text) - 1] = '\0';
	for (i = 0; i < n; i++)
		if (!check_trouble(r, &all[i], i))
			return false;
	for (i = 0; i < n; i++)
		if (!check_same(r, &all[0], &all[i], i))
			return false;
	job->n = n;
	job->threads = job->options->threads;
	if (job->threads == 0)
		job->threads =
			attention_threads(sharers(all, n, &all[r->number]));
	return true;
}

static bool introduce(struct rank *r)
{
	const struct kvr_bootstrap *b = &r->bootstrap;
	struct introduction mine = {.failed = 0}, *all;
	bool ok;

	all = calloc(b->n, sizeof(*all));
	if (!all)
		return rank_fail(r, "no memory to meet the other ranks",
				 "free some");
	tell_machine(&mine);
	if (r->job->input)
		tell_job(r->job, &mine);
	tell_trouble(r, &mine);
	if (b->n == 1)
		all[0] = mine;
	ok = b->n == 1 || !b->allgather(b->arg, &mine, sizeof(mine), all) ||
	     rank_check(r, KVR_ERR_PEER_LOST, "meeting the other ranks");
	ok = ok && compare(r, all);
	free(all);
	return ok;
}

/* ------------------------------------------------------------- finding */

static bool size_slots(struct rank *r)
{
	struct complaint why;
	bool usage;

	return attention_size_slots(r->job, &usage, &why) ||
	       fail_together(r, why.text, usage);
}

static bool find(struct rank *r, kvr_log_fn log)
{
	const struct attention_options *o = r->job->options;
	struct kvr_bootstrap_options b;

	kvr_bootstrap_options_init(&b);
	b.hosts = r->job->place->hosts;
	b.rank = r->number;
	b.port = o->port;
	b.join_timeout_ms = (uint32_t)(o->join_seconds * 1000);
	b.log = log;
	b.log_arg = r;
	b.log_level = KVR_LOG_ERROR;
	return rank_check(r, kvr_bootstrap_open(&b, &r->bootstrap),
			  "finding the other ranks");
}

bool rank_join(struct rank *r, kvr_log_fn log)
{
	struct attention_job *job = r->job;

	if (!find(r, log))
		return false;
	if (r->bootstrap.rank != r->number)
		return rank_fail(r, "the bootstrap gives it another number",
				 "unset KVRING_RANK and KVRING_SIZE");
	if (job->place->kind == PLACE_HERE)
		return true;
	if (!introduce(r) || !size_slots(r))
		return false;
	if (r->number == 0)
		*job->facts = (struct job_facts){job->n, job->threads};
	job->desc.threads = job->threads;
	return true;
}
