/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cli/attention.h"
#include "cli/attention_options.h"
#include "cli/command.h"
#include "cli/recordings.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/table.h"

/* ------------------------------------------------------------ the job */

/* A name that is none is the user's slip, one not usable the machine's. */
static int check_transport(const char *name, struct complaint *why)
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
			complain(why,
				 "--transport: %s joins ranks of one process, "
				 "and these are processes; see 'kvring info'",
				 name);
			return CLI_USAGE;
		}
		if (info.usable)
			return CLI_OK;
		complain(why,
			 "--transport: %s is not usable here: %s; see 'kvring "
			 "info'",
			 name, info.reason);
		return CLI_FAILED;
	}
	complain(why, "--transport: '%s' is not a transport; see 'kvring info'",
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
	job->desc.values_in_keys = in->values_in_keys;
	job->desc.dtype = in->dtype;
	job->desc.mask = o->causal ? KVR_MASK_CAUSAL : KVR_MASK_FULL;
	job->desc.scale = o->scale;
	job->desc.softcap = o->softcap;
	job->desc.sinks = in->sinks;
	job->desc.window = &o->window;
	job->desc.kv_wire = o->kv_wire;
	job->desc.threads = job->threads;
}

/* With room for the facts and the reports of as many ranks as there may be. */
static size_t shared_bytes(uint32_t n)
{
	return sizeof(struct job_facts) + n * sizeof(struct rank_report) +
	       (size_t)n * n * sizeof(struct rank_step);
}

static uint32_t ranks_at_most(const struct attention_job *job)
{
	return job->place->n > 0 ? job->place->n : LAUNCH_RANKS_MAX;
}

static bool share_reports(struct attention_job *job, struct complaint *why)
{
	uint32_t n = ranks_at_most(job);
	void *memory = mmap(NULL, shared_bytes(n), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return complain(why,
				"no memory for the reports of %u ranks: %s; "
				"start fewer",
				n, strerror(errno));
	job->reports = memory;
	job->steps = (struct rank_step *)(job->reports + n);
	job->facts = (struct job_facts *)(job->steps + (size_t)n * n);
	return true;
}

/* ------------------------------------------------------------ the ranks */

/* Of those of this command, which all have the same to do. */
static void tick(void *arg)
{
	const struct attention_job *job = arg;
	const struct place *place = job->place;
	double done = 0;
	uint32_t i;

	for (i = 0; i < place->count; i++)
		done += atomic_load(&job->reports[place->ranks[i]].blocks);
	if (place->n > 0)
		progress_bar_show(&job->bar, done / place->count / place->n);
}

static void say_rank(const struct attention_job *job, uint32_t rank,
		     const struct launch_fate *fate)
{
	const struct rank_report *r = &job->reports[rank];
	char what[160];

	if (r->common) {
		say_error("%s", r->text);
		return;
	}
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

static bool is_news(enum kvr_status status)
{
	return status == KVR_ERR_PEER_LOST || status == KVR_ERR_ABORTED;
}

/*
 * The cause before its effects: a death before a rank's own trouble before
 * the news of somebody else's.
 */
static int blame(const struct attention_job *job, uint32_t rank,
		 const struct launch_fate *fate)
{
	if (fate->end == LAUNCH_KILLED || fate->end == LAUNCH_STOPPED)
		return 0;
	if (fate->end == LAUNCH_ENDED)
		return 3;
	return is_news(job->reports[rank].status) ? 2 : 1;
}

/*
 * Is it said already? What all ranks of a command know, by its first; under an
 * engine, where n commands share a terminal, what rank 0 knows as well, by
 * rank 0, or by rank 1 where that is lost.
 */
static bool is_said(const struct attention_job *job, uint32_t index,
		    const struct launch_fate *fate)
{
	const struct place *place = job->place;
	const struct rank_report *r = &job->reports[place->ranks[index]];

	/* Also by one that the engine ended before it could exit. */
	if (r->common)
		return index > 0 ||
		       (place->kind == PLACE_ENGINE && place->ranks[index] > 0);
	if (fate->end != LAUNCH_EXITED || place->kind != PLACE_ENGINE)
		return false;
	return is_news(r->status) &&
	       place->ranks[index] > (r->blame == 0 ? 1 : 0);
}

static void say_ranks(const struct attention_job *job,
		      const struct launch_fate *fates)
{
	const struct place *place = job->place;
	uint32_t i;
	int order;

	for (order = 0; order <= 3; order++)
		for (i = 0; i < place->count; i++)
			if (is_failure(&fates[i]) &&
			    blame(job, place->ranks[i], &fates[i]) == order &&
			    !is_said(job, i, &fates[i]))
				say_rank(job, place->ranks[i], &fates[i]);
}

static int say_interrupted(int signo)
{
	if (!place_is_follower())
		say_error("interrupted by SIG%s; nothing was written",
			  sigabbrev_np(signo));
	return 128 + signo;
}

/* An engine ends a job for a rank that failed: perhaps ours. */
static int end_of(const struct attention_job *job,
		  const struct launch_fate *fates,
		  const struct launch_result *result)
{
	uint32_t first = result->first_failed;

	if (first != UINT32_MAX && !is_said(job, first, &fates[first]))
		say_rank(job, job->place->ranks[first], &fates[first]);
	return say_interrupted(result->interrupted);
}

static int failure_of(const struct attention_job *job)
{
	const struct place *place = job->place;
	uint32_t i;

	for (i = 0; i < place->count; i++)
		if (job->reports[place->ranks[i]].usage)
			return CLI_USAGE;
	return CLI_FAILED;
}

static int run_ranks(struct attention_job *job)
{
	const struct place *place = job->place;
	const struct launch_job ranks = {
		.n = place->count,
		.numbers = place->ranks,
		.apart = place->kind != PLACE_HERE,
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
		return end_of(job, fates, &result);
	else if (result.first_failed != UINT32_MAX)
		say_ranks(job, fates);
	else
		return CLI_OK;
	return failure_of(job);
}

/* The ranks of one machine: their recordings make one cause of it all. */
static int run_recorded_ranks(struct attention_job *job)
{
	int code;

	job->recorder = -1;
	if (job->place->kind == PLACE_HERE)
		job->recorder = recordings_create();
	code = run_ranks(job);
	/* Who gives up has said why. */
	if (code == CLI_FAILED)
		recordings_say_cause(job->recorder, false);
	else if (job->recorder >= 0)
		close(job->recorder);
	return code;
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
		return say_interrupted(interrupted);
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

/* Rank 0's command has the whole result, the others nothing to do. */
static int run_job(struct attention_job *job, struct output *output)
{
	const bool root = place_has_root(job->place);
	double begin = seconds();
	int code = run_recorded_ranks(job);

	if (code == CLI_OK && job->place->kind != PLACE_HERE && root) {
		job->n = job->facts->n;
		job->threads = job->facts->threads;
	}
	if (code == CLI_OK && root)
		return finish(job, seconds() - begin, output);
	if (root && !job->early)
		output_abandon(output);
	return code;
}

/* What must be there before the ranks begin. */
static int prepare(struct attention_job *job, struct attention_output *output,
		   struct complaint *why)
{
	const struct attention_options *o = job->options;
	bool usage;

	if (!job->input)
		return CLI_FAILED;
	describe(job);
	if (job->n > 0 && !attention_size_slots(job, &usage, why))
		return usage ? CLI_USAGE : CLI_FAILED;
	if (job->n > 0 && !attention_fits(job, why))
		return CLI_FAILED;
	output->dtype = attention_output_dtype(o, job->input);
	if (place_has_root(job->place) &&
	    !attention_output_open(o, job->input, output, why))
		return CLI_FAILED;
	return CLI_OK;
}

/*
 * Where others wait for our ranks these begin all the same, to say that they
 * cannot: the others would wait in vain.
 */
static int attend(struct attention_job *job, struct attention_output *output,
		  struct complaint *why, int code)
{
	if (!signals_block(why) || !share_reports(job, why)) {
		complaint_print(why);
		return CLI_FAILED;
	}
	if (code == CLI_OK)
		code = prepare(job, output, why);
	if (code != CLI_OK && job->place->kind == PLACE_HERE) {
		complaint_print(why);
	} else {
		job->early = code != CLI_OK ? why : NULL;
		job->early_usage = code == CLI_USAGE;
		code = run_job(job, &output->file);
	}
	munmap(job->reports, shared_bytes(ranks_at_most(job)));
	return code;
}

/* How long rank 0 may take to say what we leave unsaid. */
static void linger(void)
{
	if (place_is_follower())
		poll(NULL, 0, 1000);
}

static int run(const struct attention_options *options,
	       const struct place *place)
{
	struct attention_output output = {.file.fd = -1};
	struct attention_job job = {.options = options,
				    .output = &output,
				    .place = place,
				    .n = place->kind == PLACE_HERE ? place->n
								   : 0,
				    .threads = options->threads};
	struct attention_input input;
	struct complaint why;
	int code = check_transport(options->transport, &why);

	if (job.n > 0 && job.threads == 0)
		job.threads = attention_threads(job.n);
	if (code == CLI_OK &&
	    !attention_input_open(options->input_path, options->values_in_keys,
				  &input, &why))
		code = CLI_FAILED;
	else if (code == CLI_OK)
		job.input = &input;
	code = attend(&job, &output, &why, code);
	shards_close(job.shards, job.n);
	if (job.input)
		attention_input_close(&input);
	return code;
}

int cmd_attention(int argc, char **argv)
{
	struct attention_options options;
	struct place place;
	int code;

	options = attention_options_parse(argc, argv, &place);
	code = run(&options, &place);
	place_free(&place);
	if (code != CLI_OK)
		linger();
	return code;
}
