/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/kill.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "runtime/clock.h"

struct life {
	struct kill_world *world;
	struct kill_report *report;
	const struct kill_input *input;
	uint32_t rank;
	struct kvr_context *context;
	struct kvr_ring *ring;
};

static void arrive(struct life *life, unsigned at)
{
	atomic_store_explicit(&life->report->at, at, memory_order_relaxed);
}

__attribute__((format(printf, 2, 3))) static bool wrong(struct life *life,
							const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(life->report->wrong, sizeof(life->report->wrong), format,
		  list);
	va_end(list);
	return false;
}

/* True: the call succeeded. False: the rank is at its end, and says why. */
static bool passed(struct life *life, const char *call, enum kvr_status status)
{
	struct kill_report *report = life->report;

	if (status == KVR_OK)
		return true;
	report->returned_ns = kvr_clock_ns();
	report->status = status;
	snprintf(report->call, sizeof(report->call), "%s", call);
	kvr_failure_init(&report->failure);
	if (life->ring) {
		report->opened = true;
		if (kvr_ring_get_failure(life->ring, &report->failure) !=
		    KVR_OK)
			wrong(life, "no failure to be had");
	}
	return false;
}

static void keep_line(void *arg, enum kvr_log_level level, const char *line)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct kill_report *report = arg;
	size_t used;

	(void)level;
	pthread_mutex_lock(&lock);
	used = strlen(report->log);
	snprintf(report->log + used, sizeof(report->log) - used, "\t%s\n",
		 line);
	pthread_mutex_unlock(&lock);
}

/* -------------------------------------------------------------- passes */

#define BLOCK_MAX (40u << 10)

/* Differs by origin and pass, and is now and then nothing. */
static size_t block_bytes(uint32_t origin, uint64_t pass)
{
	uint64_t h = (origin * 40503u + pass * 2654435761u) % 101;

	return h % 13 == 0 ? 0 : (size_t)(h * 405 + 1);
}

static uint8_t stamp(uint32_t origin, uint64_t pass, size_t i)
{
	return (uint8_t)(origin * 29 + pass * 13 + i * 5 + (i >> 8));
}

static bool right_block(struct life *life, const struct kvr_block *block,
			uint64_t pass)
{
	const uint8_t *data = block->data;

	if (block->bytes != block_bytes(block->origin, pass))
		return wrong(life, "pass %u: %zu bytes of rank %u",
			     (unsigned)pass, block->bytes, block->origin);
	for (size_t i = 0; i < block->bytes; i++)
		if (data[i] != stamp(block->origin, pass, i))
			return wrong(life, "pass %u: byte %zu of rank %u",
				     (unsigned)pass, i, block->origin);
	return true;
}

static bool take_blocks(struct life *life, struct kvr_pass *pass, uint64_t tag)
{
	unsigned index = (unsigned)tag - 1;
	struct kvr_block block;

	kvr_block_init(&block);
	for (uint32_t step = 0; step < life->world->n; step++) {
		arrive(life, AT_PASS(index, POINT_NEXT));
		if (!passed(life, "kvr_pass_next",
			    kvr_pass_next(pass, 0, &block)))
			return false;
		life->report->taken = step + 1;
		if (step && !right_block(life, &block, tag))
			return false;
		arrive(life, AT_PASS(index, POINT_RELEASE));
		if (!passed(life, "kvr_pass_release",
			    kvr_pass_release(pass, 0, step)))
			return false;
	}
	return true;
}

static bool one_pass(struct life *life, struct kvr_memory *memory,
		     uint8_t *local, uint64_t tag)
{
	struct kvr_segment segment = {memory, 0, block_bytes(life->rank, tag)};
	struct kill_report *report = life->report;
	struct kvr_pass_desc desc;
	struct kvr_pass *pass;

	for (size_t i = 0; i < segment.bytes; i++)
		local[i] = stamp(life->rank, tag, i);
	kvr_pass_desc_init(&desc);
	desc.tag = tag;
	desc.lane[0].segments = &segment;
	desc.lane[0].segment_count = segment.bytes ? 1 : 0;
	arrive(life, AT_PASS(tag - 1, POINT_BEGIN));
	if (!passed(life, "kvr_pass_begin",
		    kvr_pass_begin(life->ring, &desc, &pass)))
		return false;
	report->pass = tag;
	report->taken = 0;
	if (!take_blocks(life, pass, tag)) {
		(void)!kvr_pass_end(pass);
		return false;
	}
	arrive(life, AT_PASS(tag - 1, POINT_END));
	if (!passed(life, "kvr_pass_end", kvr_pass_end(pass)))
		return false;
	report->pass = 0;
	report->taken = 0;
	report->passes++;
	return true;
}

static void passes(struct life *life)
{
	uint8_t *local = malloc(BLOCK_MAX + 1024);
	struct kvr_memory *memory;

	CHECK(local);
	CHECK_STATUS(kvr_memory_register(life->context, local, BLOCK_MAX + 1024,
					 &memory),
		     KVR_OK);
	for (uint64_t tag = 1; tag <= life->world->passes; tag++)
		if (!one_pass(life, memory, local, tag))
			break;
	kvr_memory_deregister(memory);
	free(local);
}

/* ----------------------------------------------------------- attention */

struct part {
	struct kvr_range range;
	size_t count;
	struct kvr_tensor out;
	float *lse;
};

static struct kvr_tensor view(const struct part *part, const void *whole,
			      uint32_t heads, uint32_t dim)
{
	const float *at = whole;

	at += part->range.start * heads * dim;
	return kvr_tensor_dense((void *)(uintptr_t)at, KVR_F32,
				part->range.length, heads, dim);
}

/*
 * Against the oracle in double: values are means of unit normals, a stale or
 * torn block is off by tenths, fp32 by millionths.
 */
static bool right_output(struct life *life, const struct part *part, int turn)
{
	const struct whole *w = &life->input->whole[turn];
	size_t row = (size_t)w->desc.q_heads * w->desc.value_dim;
	const float *want = life->input->out[turn] + part->range.start * row;
	const float *got = part->out.data;

	for (size_t i = 0; i < part->range.length * row; i++)
		if (!(fabsf(got[i] - want[i]) <= 1e-4f))
			return wrong(life, "out[%zu] %g, not %g", i,
				     (double)got[i], (double)want[i]);
	for (size_t h = 0; h < w->desc.q_heads; h++)
		for (size_t t = 0; t < part->range.length; t++) {
			float l = part->lse[h * part->range.length + t];
			float e = life->input->lse[turn][h * w->tokens +
							 part->range.start + t];

			if (!(fabsf(l - e) <= 1e-4f))
				return wrong(life, "lse[%zu, %zu] %g, not %g",
					     h, t, (double)l, (double)e);
		}
	return true;
}

static void on_step(void *arg, uint32_t step, uint32_t steps)
{
	struct life *life = arg;
	unsigned pass = life->report->passes;

	(void)steps;
	life->report->taken = step;
	arrive(life, AT_PASS(pass, step % 2 ? POINT_NEXT : POINT_RELEASE));
}

static bool one_run(struct life *life, struct kvr_plan *plan, struct part *part,
		    unsigned pass)
{
	const struct whole *w = &life->input->whole[pass % 2];
	const struct kvr_plan_desc *d = &w->desc;
	const struct kvr_tensor q = view(part, w->q, d->q_heads, d->head_dim),
				k = view(part, w->k, d->kv_heads, d->head_dim),
				v = view(part, w->v, d->kv_heads, d->value_dim);

	arrive(life, AT_PASS(pass, POINT_BEGIN));
	life->report->pass = pass + 3; /* the plan took two */
	life->report->taken = 0;
	if (!passed(life, "kvr_attention_run",
		    kvr_attention_run(plan, &q, &k, &v, &part->out, part->lse,
				      part->range.length)))
		return false;
	life->report->pass = 0;
	arrive(life, AT_PASS(pass, POINT_END));
	if (!right_output(life, part, pass % 2))
		return false;
	life->report->passes++;
	return true;
}

static void attention(struct life *life)
{
	const struct whole *w = &life->input->whole[0];
	struct kvr_plan_desc desc = w->desc;
	struct kvr_plan *plan;
	struct part part;
	float *out, *lse;

	CHECK_STATUS(kvr_ranges_contiguous(w->tokens, life->rank,
					   life->world->n, &part.range,
					   &part.count),
		     KVR_OK);
	out = malloc(part.range.length * desc.q_heads * desc.value_dim *
		     sizeof(*out));
	lse = malloc(part.range.length * desc.q_heads * sizeof(*lse));
	CHECK(out && lse);
	part.out = kvr_tensor_dense(out, KVR_F32, part.range.length,
				    desc.q_heads, desc.value_dim);
	part.lse = lse;
	desc.q_ranges = desc.kv_ranges = &part.range;
	desc.q_range_count = desc.kv_range_count = part.count;
	desc.on_step = on_step;
	desc.on_step_arg = life;
	life->report->pass = 1;
	if (passed(life, "kvr_plan_create",
		   kvr_plan_create(life->ring, &desc, &plan))) {
		for (unsigned pass = 0; pass < life->world->passes; pass++)
			if (!one_run(life, plan, &part, pass))
				break;
		kvr_plan_destroy(plan);
	}
	free(lse);
	free(out);
}

/* ---------------------------------------------------------------- life */

/*
 * Does librdmacm keep it? It opens each device once, two descriptors, until
 * the process ends.
 */
static bool kept(const char *path)
{
	char target[64] = "";

	return readlink(path, target, sizeof(target) - 1) > 0 &&
	       (strncmp(target, "/dev/infiniband/uverbs", 22) == 0 ||
		strcmp(target, "anon_inode:[infinibandevent]") == 0);
}

static size_t entries(const char *path)
{
	DIR *directory = opendir(path);
	size_t count = 0;

	CHECK(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* But for the two that librdmacm keeps of each device. */
static size_t descriptors(void)
{
	size_t count = entries("/proc/self/fd"), devices, few = 0;
	char path[32];

	for (int fd = 0; fd < 256; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		few += kept(path);
	}
	devices = few ? entries("/sys/class/infiniband") - 2 : 0;
	return count - (few < 2 * devices ? few : 2 * devices);
}

static void *nothing(void *arg)
{
	return arg;
}

/* Threads now; the thread sanitizer adds one of its own with the first. */
static size_t count_tasks(void)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, nothing, NULL));
	CHECK(!pthread_join(thread, NULL));
	return entries("/proc/self/task");
}

static bool maps_memfd(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	bool found = false;
	char line[512];

	CHECK(file);
	while (fgets(line, sizeof(line), file))
		found |= strstr(line, "memfd:") != NULL;
	fclose(file);
	return found;
}

static bool open_ring(struct life *life)
{
	const struct kill_world *world = life->world;
	struct kvr_bootstrap bootstrap;
	struct kvr_ring_options options;

	CHECK_STATUS(kvr_bootstrap_from_environment(&bootstrap), KVR_OK);
	CHECK(bootstrap.rank == life->rank && bootstrap.n == world->n);
	kvr_ring_options_init(&options);
	options.transport = world->transport;
	options.slots = world->slots;
	options.chunk_bytes = 4096;
	options.lane[0].slot_bytes = 2 * BLOCK_MAX;
	options.peer_timeout_ms = world->peer_timeout_ms;
	options.wait_timeout_ms = 60000;
	arrive(life, AT_OPENING);
	return passed(life, "kvr_ring_open",
		      kvr_ring_open(life->context, &bootstrap, &options,
				    &life->ring));
}

/* Nothing of the ring may outlive it: descriptors, mappings, threads. */
static void check_left(struct life *life, size_t fds, size_t tasks)
{
	/* The kernel forgets a thread a moment after it was joined. */
	for (int i = 0; i < 1000 && entries("/proc/self/task") > tasks; i++)
		usleep(1000);
	if (descriptors() != fds)
		wrong(life, "%zu descriptors, were %zu", descriptors(), fds);
	if (entries("/proc/self/task") > tasks)
		wrong(life, "%zu threads, were %zu", entries("/proc/self/task"),
		      tasks);
	if (maps_memfd())
		wrong(life, "a memfd is still mapped");
}

int kill_rank_main(struct kill_world *world, uint32_t rank,
		   const struct kill_input *input)
{
	size_t fds = descriptors(), tasks;
	struct kill_report *report = &world->report[rank];
	struct kvr_context_options options;
	struct life life = {
		.world = world,
		.report = report,
		.input = input,
		.rank = rank,
	};

	tasks = count_tasks();
	kvr_context_options_init(&options);
	options.log = keep_line;
	options.log_arg = report;
	if (world->caller)
		options.progress = KVR_PROGRESS_CALLER;
	CHECK_STATUS(kvr_context_open(&options, &life.context), KVR_OK);
	if (open_ring(&life)) {
		if (world->attention)
			attention(&life);
		else
			passes(&life);
		arrive(&life, AT_CLOSING);
		report->close_ns = kvr_clock_ns();
		kvr_ring_close(life.ring);
		report->close_ns = kvr_clock_ns() - report->close_ns;
	}
	kvr_context_close(life.context);
	check_left(&life, fds, tasks);
	arrive(&life, AT_CLOSED);
	if (report->wrong[0])
		return RANK_WRONG;
	return report->status == KVR_OK ? RANK_DONE : RANK_LOST;
}
