/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/kill_judge.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "runtime/clock.h"

void kill_complain(struct run *run, enum kill_fault fault, const char *format,
		   ...)
{
	size_t used = strlen(run->said);
	size_t left = sizeof(run->said) - used;
	va_list list;
	int length;

	run->wrong |= fault == FAULT_WRONG;
	run->untimely |= fault == FAULT_UNTIMELY;
	run->misblamed |= fault == FAULT_BLAME;
	va_start(list, format);
	length = vsnprintf(run->said + used, left, format, list);
	va_end(list);
	if (length >= 0 && (size_t)length + 1 < left)
		strcpy(run->said + used + length, "\n");
}

uint64_t kill_deadline_ns(const struct run *run)
{
	return run->world->peer_timeout_ms * KVR_NS_PER_MS;
}

/* A rank that says that all is done has every byte of every pass. */
static void judge_done(struct run *run, uint32_t rank)
{
	const struct kill_report *r = &run->world->report[rank];

	if (r->passes != run->world->passes || r->call[0])
		kill_complain(run, FAULT_WRONG,
			      "rank %u exits 0 after %u passes", rank,
			      r->passes);
	if (r->close_ns > kill_deadline_ns(run) + run->slack_ns)
		kill_complain(run, FAULT_UNTIMELY, "rank %u closed for %.3f s",
			      rank, (double)r->close_ns / 1e9);
}

/*
 * Whom, and where. A live rank that was taken for dead for its silence is a
 * matter of time; blame for anything else is not.
 */
static void judge_blame(struct run *run, uint32_t rank)
{
	const struct kill_report *r = &run->world->report[rank];
	const struct kvr_failure *f = &r->failure;
	bool in_pass = f->pass != 0;
	char name[32];

	/* Stopped and woken, it hears that the others lost it. */
	snprintf(name, sizeof(name),
		 rank == run->victim ? "lost us, rank %u, " : "lost rank %u ",
		 run->victim);
	if (f->status != KVR_ERR_PEER_LOST || f->rank != run->victim ||
	    !strstr(f->text, name))
		kill_complain(run,
			      strstr(f->text, "silent") ? FAULT_UNTIMELY
							: FAULT_BLAME,
			      "rank %u blames rank %u: %s: %s", rank, f->rank,
			      kvr_status_name(f->status), f->text);
	if (!strstr(f->text, in_pass ? " in step " : "between passes"))
		kill_complain(run, FAULT_WRONG, "rank %u names no step: %s",
			      rank, f->text);
	if (in_pass && run->world->attention) {
		/* The kernel may still have been busy with the last step. */
		if (f->pass != r->pass || f->step < r->taken ||
		    f->step > r->taken + 1)
			kill_complain(run, FAULT_WRONG,
				      "rank %u was in step %u of %llu: %s",
				      rank, r->taken,
				      (unsigned long long)r->pass, f->text);
	} else if (in_pass && (f->pass != r->pass || f->step != r->taken)) {
		kill_complain(run, FAULT_WRONG,
			      "rank %u was in step %u of %llu: %s", rank,
			      r->taken, (unsigned long long)r->pass, f->text);
	}
}

/* Nobody had been struck: a live rank was too slow for it, or else? */
static enum kill_fault fault_of_failing_early(const struct kill_report *r)
{
	return strstr(r->log, "silent") || strstr(r->log, "did not connect")
		       ? FAULT_UNTIMELY
		       : FAULT_BLAME;
}

static void judge_lost(struct run *run, uint32_t rank, struct tally *tally)
{
	const struct kill_report *r = &run->world->report[rank];
	uint64_t took_ns = r->returned_ns - run->struck_ns;

	if (r->status != KVR_ERR_PEER_LOST)
		kill_complain(run, FAULT_WRONG, "rank %u: %s returns %s", rank,
			      r->call, kvr_status_name(r->status));
	if (r->opened)
		judge_blame(run, rank);
	else if (!r->log[0])
		kill_complain(run, FAULT_WRONG,
			      "rank %u fails to open and does not say why",
			      rank);
	if (rank == run->victim)
		return;
	if (r->returned_ns < run->struck_ns)
		kill_complain(run, fault_of_failing_early(r),
			      "rank %u fails before anybody died", rank);
	else if (took_ns > kill_deadline_ns(run) + run->slack_ns)
		kill_complain(run, FAULT_UNTIMELY,
			      "rank %u: %s returns after %.3f s", rank, r->call,
			      (double)took_ns / 1e9);
	else
		tally_add(tally, run->signal == SIGSTOP, r->opened, took_ns);
}

static void judge_rank(struct run *run, uint32_t rank, struct tally *tally)
{
	const struct kill_report *r = &run->world->report[rank];
	int status = run->status[rank];

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
	    rank == run->victim)
		return;
	if (!WIFEXITED(status))
		kill_complain(run, FAULT_WRONG,
			      "rank %u was killed by signal %d", rank,
			      WTERMSIG(status));
	else if (r->wrong[0])
		kill_complain(run, FAULT_WRONG, "rank %u: %s", rank, r->wrong);
	else if (WEXITSTATUS(status) == RANK_DONE)
		judge_done(run, rank);
	else if (WEXITSTATUS(status) == RANK_LOST)
		judge_lost(run, rank, tally);
	else
		kill_complain(run, FAULT_WRONG, "rank %u exits %d", rank,
			      WEXITSTATUS(status));
}

/*
 * Did the victim get through unharmed? Then so must the others. One that was
 * stopped while it closed gets through when it is woken, but the others may
 * have waited in vain for what it had to forward.
 */
static void judge_spared(struct run *run)
{
	const struct kill_report *victim = &run->world->report[run->victim];

	if (run->reached < AT_CLOSED || victim->call[0])
		return;
	for (uint32_t i = 0; i < run->world->n; i++)
		if (run->world->report[i].call[0])
			kill_complain(run, FAULT_BLAME,
				      "rank %u fails although none died", i);
}

void kill_judge_ranks(struct run *run, struct tally *tally)
{
	for (uint32_t i = 0; i < run->world->n; i++)
		judge_rank(run, i, tally);
	judge_spared(run);
}
