/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/net/ranks.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "bench/processes.h"
#include "bench/report.h"

#define DAY_SECONDS 86400

void ranks_die(const struct kvr_bootstrap *who, const char *format, ...)
{
	char what[400];
	va_list args;
	int used;

	used = snprintf(what, sizeof(what), "rank %u: ", who->rank);
	va_start(args, format);
	vsnprintf(what + used, sizeof(what) - (size_t)used, format, args);
	va_end(args);
	report_die(what);
}

void ranks_log(void *who, enum kvr_log_level level, const char *line)
{
	(void)who;
	(void)level;
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, line);
}

void ranks_gather(const struct kvr_bootstrap *who, const void *local,
		  size_t bytes, void *all)
{
	if (who->allgather(who->arg, local, bytes, all))
		ranks_die(who, "the all-gather failed: a rank ended, or did "
			       "not come");
}

/* --------------------------------------------------------------- start */

struct family {
	const struct net_options *options;
	ranks_body body;
	uint32_t n;
	struct meeting *meeting;
};

static void child(void *arg, uint32_t rank)
{
	const struct family *family = arg;
	struct seat seat = {family->meeting, rank};
	struct kvr_bootstrap who;
	char title[32];

	snprintf(title, sizeof(title), "kvring rank %u", rank);
	prctl(PR_SET_NAME, title);
	kvr_bootstrap_init(&who);
	who.rank = rank;
	who.n = family->n;
	who.allgather = meeting_allgather;
	who.arg = &seat;
	family->body(family->options, &who);
}

static void choose_cpus(const struct net_options *o, uint32_t rank,
			cpu_set_t *out)
{
	if (o->pins.count) {
		CPU_ZERO(out);
		CPU_SET((int)o->pins.value[rank % o->pins.count], out);
	} else if (sched_getaffinity(0, sizeof(*out), out)) {
		report_die("cannot see which CPUs are usable");
	}
}

static void run_family(const struct net_options *o, ranks_body body)
{
	struct family family = {o, body, o->ranks ? o->ranks : 2, NULL};
	cpu_set_t cpus[PROCESSES_MAX];

	for (uint32_t i = 0; i < family.n; i++)
		choose_cpus(o, i, &cpus[i]);
	family.meeting = meeting_new(family.n);
	processes_run(&(struct processes){
		.count = family.n,
		.main = child,
		.arg = &family,
		.cpus = cpus,
		.seconds = DAY_SECONDS,
	});
	meeting_free(family.meeting);
}

static void run_member(const struct net_options *o, ranks_body body,
		       const struct kvr_bootstrap *who)
{
	cpu_set_t cpus;

	if (o->ranks && o->ranks != who->n)
		ranks_die(who, "-n %u, but %u ranks were started; leave it out",
			  o->ranks, who->n);
	if (!net_of_ring(o) && who->n != 2)
		ranks_die(who, "%u ranks were started; this test is of 2",
			  who->n);
	choose_cpus(o, who->rank, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		ranks_die(who, "--pin: cannot run on that CPU");
	body(o, who);
}

void ranks_run(const struct net_options *options, ranks_body body)
{
	struct kvr_bootstrap who;

	if (kvr_bootstrap_from_environment(&who) != KVR_OK)
		report_die("KVRING_RANK, KVRING_SIZE or KVRING_BOOTSTRAP_FD "
			   "is wrong; start ranks by 'kvring run'");
	if (who.n > 1)
		run_member(options, body, &who);
	else
		run_family(options, body);
}

/* ------------------------------------------------------------ describe */

struct place {
	char boot_id[40]; /* one running kernel */
	cpu_set_t cpus;
};

static void read_place(const struct kvr_bootstrap *who, struct place *out)
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(out, 0, sizeof(*out));
	if (!file || !fgets(out->boot_id, sizeof(out->boot_id), file))
		ranks_die(who, "/proc is not readable");
	fclose(file);
	if (sched_getaffinity(0, sizeof(out->cpus), &out->cpus))
		ranks_die(who, "cannot see which CPUs are usable");
}

/* Ranks on the machine of places[first], and the CPUs that they have. */
static uint32_t count_neighbours(const struct place *places, uint32_t n,
				 uint32_t first, int *cpus)
{
	uint32_t count = 0;
	cpu_set_t all;

	CPU_ZERO(&all);
	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(places[i].boot_id, places[first].boot_id) != 0)
			continue;
		CPU_OR(&all, &all, &places[i].cpus);
		count++;
	}
	*cpus = CPU_COUNT(&all);
	return count;
}

static void note_crowd(uint32_t ranks, uint32_t busy, int cpus,
		       struct output *output)
{
	char note[200];

	if (ranks * busy <= (uint32_t)cpus)
		return;
	snprintf(note, sizeof(note),
		 "%u busy threads (%u ranks) share %d CPUs: they wait for "
		 "each other, and that is in the numbers",
		 ranks * busy, ranks, cpus);
	output_note(output, note);
}

void ranks_describe(const struct kvr_bootstrap *who,
		    const struct net_options *options, uint32_t busy_threads,
		    struct output *output)
{
	struct place *places = calloc(who->n, sizeof(*places)), mine;
	uint32_t most = 0;
	int fewest = 0;

	if (!places)
		ranks_die(who, "out of memory");
	read_place(who, &mine);
	ranks_gather(who, &mine, sizeof(mine), places);
	for (uint32_t i = 0; i < who->n; i++) {
		int cpus;
		uint32_t ranks = count_neighbours(places, who->n, i, &cpus);

		if (i == 0 || (uint64_t)ranks * (uint32_t)fewest >
				      (uint64_t)most * (uint32_t)cpus) {
			most = ranks;
			fewest = cpus;
		}
	}
	free(places);
	output_number(output, "ranks", who->n);
	output_number(output, "ranks_on_one_machine", most);
	output_number(output, "cpus_of_these", fewest);
	output_text(output, "pinned", options->pins.count ? "yes" : "no");
	note_crowd(most, busy_threads, fewest, output);
}
