/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cli/attention.h"
#include "cli/attention_options.h"
#include "cli/command.h"
#include "cli/memory.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/table.h"

/* ------------------------------------------------------------ the job */

/* A name that is none is the user's slip, one not usable the machine's. */
static int check_transport(const char *name)
{
	struct kvr_backend_info info;
	uint32_t i;

	if (!name)
		return CLI_OK;
	for (i = 0;; i++) {
		kvr_backend_info_init(&info);
		if (kvr_backend_get_info(i, &info) != KVR_OK)
			break;
		if (strcmp(info.kind, "transport") || strcmp(info.name, name))
			continue;
		if (!info.between_processes) {
			say_error("--transport: %s joins ranks of one "
				  "process, and these are processes; see "
				  "'kvring info'",
				  name);
			return CLI_USAGE;
		}
		if (info.usable)
			return CLI_OK;
		say_error("--transport: %s is not usable here: %s; see "
			  "'kvring info'",
			  name, info.reason);
		return CLI_FAILED;
	}
	say_error("--transport: '%s' is not a transport; see 'kvring info'",
		  name);
	return CLI_USAGE;
}

static void describe(struct attention_job *job)
{
	const struct attention_options *o = job->options;
	const struct attention_input *in = job->input;

	kvr_plan_desc_init(&job->desc);
	job->desc.q_heads = in->q_heads;
	job->desc.kv_heads = in->kv_heads;
	job->desc.head_dim = in->head_dim;
	job->desc.value_dim = in->value_dim;
	job->desc.dtype = in->dtype;
	job->desc.mask = o->causal ? KVR_MASK_CAUSAL : KVR_MASK_FULL;
	job->desc.scale = o->scale;
	job->desc.threads = o->threads;
}

static void say_no_kernel(enum kvr_status status)
{
	const char *cpu = getenv("KVRING_CPU");

	if (status == KVR_ERR_UNSUPPORTED && cpu)
		say_error("KVRING_CPU: '%s' is no kernel that this processor "
			  "runs; 'kvring info' lists them",
			  cpu);
	else
		say_error("sizing a block: %s", kvr_status_text(status));
}

/* slot_bytes must agree ring-wide: that of the largest shard. */
static int size_slots(struct attention_job *job)
{
	const struct attention_options *o = job->options;
	enum kvr_status status;
	struct shard shard;
	size_t bytes;
	uint32_t i;

	for (i = 0; i < o->n; i++) {
		shard = shard_of(o->partition, job->input->tokens, i, o->n);
		status = kvr_attention_block_bytes(&job->desc, shard.tokens,
						   shard.count, &bytes);
		if (status != KVR_OK) {
			say_no_kernel(status);
			return CLI_FAILED;
		}
		if (bytes > job->slot_bytes)
			job->slot_bytes = bytes;
	}
	bytes = (job->slot_bytes + KVR_CHUNKS_MAX - 1) / KVR_CHUNKS_MAX;
	/* One rank sends nothing. */
	if (bytes <= o->chunk_bytes || o->n == 1)
		return CLI_OK;
	say_error("--chunk: %" PRIu64 " bytes cut a block of %zu into more "
		  "than %d pieces; use at least %zu",
		  o->chunk_bytes, job->slot_bytes, KVR_CHUNKS_MAX, bytes);
	return CLI_USAGE;
}

/* A block and the slots for others', partial results, and results. */
static uint64_t needed_bytes(const struct attention_job *job)
{
	const struct attention_options *o = job->options;
	const struct attention_input *in = job->input;
	size_t element = kvr_dtype_bytes(o->f32_output ? KVR_F32 : in->dtype);
	uint64_t row =
		in->value_dim * (element + sizeof(float)) + sizeof(float);
	uint64_t slots = o->n > 1 ? o->slots : 0;

	return o->n * (slots + 1) * job->slot_bytes +
	       in->tokens * in->q_heads * row;
}

/*
 * What would not fit is refused before the kernel has to kill somebody. The
 * slots of a whole ring do not depend on n, but one rank needs none.
 */
static bool fits(const struct attention_job *job)
{
	const struct attention_options *o = job->options;
	uint64_t bytes = needed_bytes(job);
	struct memory_room room;
	char need[24], have[24];

	if (!memory_room("", &room) || bytes <= room.bytes)
		return true;
	table_bytes(bytes, need, sizeof(need));
	table_bytes(room.bytes, have, sizeof(have));
	say_error("memory: %u rank%s need at least %s for blocks, slots and "
		  "results, and %s are %s; use %s%sfewer tokens or more "
		  "memory; a smaller --chunk does not help",
		  o->n, o->n == 1 ? "" : "s", need, have, room.of,
		  o->slots > (o->n > 2 ? 2 : 1) ? "fewer --slots, " : "",
		  o->n > 1 ? "fewer ranks (-n 1 needs no slots), " : "");
	return false;
}

static size_t shared_bytes(uint32_t n)
{
	return n * sizeof(struct rank_report) +
	       (size_t)n * n * sizeof(struct rank_step);
}

static bool share_reports(struct attention_job *job)
{
	uint32_t n = job->options->n;
	void *memory = mmap(NULL, shared_bytes(n), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		say_error("no memory for the reports of %u ranks: %s; start "
			  "fewer",
			  n, strerror(errno));
		return false;
	}
	job->reports = memory;
	job->steps = (struct rank_step *)(job->reports + n);
	return true;
}

/* ------------------------------------------------------------ the ranks */

static void tick(void *arg)
{
	const struct attention_job *job = arg;
	uint32_t n = job->options->n, i;
	double done = 0;

	for (i = 0; i < n; i++)
		done += atomic_load(&job->reports[i].blocks);
	progress_bar_show(&job->bar, done / n / n);
}

static void say_rank(const struct attention_job *job, uint32_t rank,
		     const struct launch_fate *fate)
{
	const struct rank_report *r = &job->reports[rank];
	char what[160];

	if (fate->end == LAUNCH_EXITED && r->text[0]) {
		say_error("rank %u: %s", rank, r->text);
		return;
	}
	launch_describe(fate, what, sizeof(what));
	say_error("rank %u %s", rank, what);
}

static bool is_failure(const struct launch_fate *fate)
{
	return fate->end != LAUNCH_EXITED || fate->code != 0;
}

/*
 * The cause before its effects: a death before a rank's own trouble before
 * the news of somebody else's.
 */
static int blame(const struct attention_job *job, uint32_t rank,
		 const struct launch_fate *fate)
{
	enum kvr_status status = job->reports[rank].status;

	if (fate->end == LAUNCH_KILLED || fate->end == LAUNCH_STOPPED)
		return 0;
	if (fate->end == LAUNCH_ENDED)
		return 3;
	if (status == KVR_ERR_PEER_LOST || status == KVR_ERR_ABORTED)
		return 2;
	return 1;
}

static void say_ranks(const struct attention_job *job,
		      const struct launch_fate *fates)
{
	uint32_t i;
	int order;

	for (order = 0; order <= 3; order++)
		for (i = 0; i < job->options->n; i++)
			if (is_failure(&fates[i]) &&
			    blame(job, i, &fates[i]) == order)
				say_rank(job, i, &fates[i]);
}

static int end_of(int interrupted)
{
	say_error("interrupted by SIG%s; nothing was written",
		  sigabbrev_np(interrupted));
	return 128 + interrupted;
}

static int run_ranks(struct attention_job *job)
{
	uint32_t n = job->options->n;
	const struct launch_job ranks = {
		.n = n,
		.rank = attention_rank,
		.tick = tick,
		.arg = job,
		.grace_seconds = job->options->timeout_seconds + GRACE_SECONDS};
	struct launch_fate fates[LAUNCH_RANKS_MAX];
	struct launch_result result;
	struct complaint why;
	bool ok;

	job->bar = progress_bar_begin("attention");
	ok = launch(&ranks, fates, &result, &why);
	progress_bar_end(&job->bar);
	if (!ok)
		complaint_print(&why);
	else if (result.interrupted)
		return end_of(result.interrupted);
	else if (result.first_failed != UINT32_MAX)
		say_ranks(job, fates);
	else
		return CLI_OK;
	return CLI_FAILED;
}

/* --------------------------------------------------------- the result */

static unsigned int terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_col == 0)
		return 100;
	return size.ws_col;
}

static int print_result(const struct attention_result *result)
{
	bool ok = true;

	if (result->job->options->json)
		ok = report_print(stdout, result);
	else
		table_print(stdout, result,
			    !strcmp(nl_langinfo(CODESET), "UTF-8"),
			    terminal_width());
	if (ok && !fflush(stdout) && !ferror(stdout))
		return CLI_OK;
	say_output_error();
	return CLI_FAILED;
}

static int verify(struct attention_result *result, struct verification *out)
{
	struct complaint why;
	int interrupted;

	if (!verify_attention(result->job, out, &interrupted, &why)) {
		complaint_print(&why);
		return CLI_FAILED;
	}
	if (interrupted)
		return end_of(interrupted);
	result->verification = out;
	return CLI_OK;
}

static void say_unverified(const struct attention_options *options,
			   const struct verification *v)
{
	if (v->undefined > 0)
		say_error("%s: q, k or v hold NaN or infinity, or overflow: "
			  "%" PRIu64 " results are not finite by the oracle "
			  "either; mend the input",
			  options->input_path, v->undefined);
	else
		say_error("%s: differs from the oracle; report this, with "
			  "the input",
			  options->output_path);
}

/* Gives up *output in every case. */
static int finish(struct attention_job *job, double wall_seconds,
		  struct output *output)
{
	struct attention_result result = {.job = job,
					  .wall_seconds = wall_seconds};
	struct verification verification = {.passed = true};
	struct complaint why;
	int code = CLI_OK;

	if (job->options->verify)
		code = verify(&result, &verification);
	if (code == CLI_OK)
		code = print_result(&result);
	if (code == CLI_OK && !verification.passed) {
		say_unverified(job->options, &verification);
		code = CLI_FAILED;
	}
	if (code != CLI_OK) {
		output_abandon(output);
	} else if (!output_commit(output, &why)) {
		complaint_print(&why);
		code = CLI_FAILED;
	}
	return code;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int run_job(struct attention_job *job, struct output *output)
{
	double begin = seconds();
	int code = run_ranks(job);

	if (code == CLI_OK)
		return finish(job, seconds() - begin, output);
	output_abandon(output);
	return code;
}

static int attend(const struct attention_options *o,
		  const struct attention_input *input)
{
	struct attention_output output;
	struct attention_job job = {
		.options = o, .input = input, .output = &output};
	struct complaint why;
	int code;

	describe(&job);
	code = size_slots(&job);
	if (code != CLI_OK)
		return code;
	if (!fits(&job))
		return CLI_FAILED;
	if (!signals_block(&why) ||
	    !attention_output_open(o, input, &output, &why)) {
		complaint_print(&why);
		return CLI_FAILED;
	}
	if (!share_reports(&job)) {
		output_abandon(&output.file);
		return CLI_FAILED;
	}
	code = run_job(&job, &output.file);
	munmap(job.reports, shared_bytes(o->n));
	return code;
}

int cmd_attention(int argc, char **argv)
{
	struct attention_options options = attention_options_parse(argc, argv);
	struct attention_input input;
	struct complaint why;
	int code = check_transport(options.transport);

	if (code != CLI_OK)
		return code;
	if (!attention_input_open(options.input_path, &input, &why)) {
		complaint_print(&why);
		return CLI_FAILED;
	}
	code = attend(&options, &input);
	attention_input_close(&input);
	return code;
}
