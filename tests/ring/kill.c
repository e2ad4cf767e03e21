/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_kill [OPTION...] [RUNS [SEED]]: kills or stops a random rank of a ring
 * of processes at a random moment, from before the ring opens until it is
 * closed, and holds the others to what DESIGN section 5 promises: each call
 * returns KVR_ERR_PEER_LOST within the deadline and names rank and step, or
 * the work was done; no byte is wrong; nothing is left behind. Run i of seed S
 * is run 0 of seed S + i.
 *	--transport NAME	of every edge (shm); other than that only where
 *				the machine is the test's own, as in a guest
 *	--passes N		that a ring makes, at most and by default 160
 *	--slack MS		that the machine may add to the deadline (4000)
 *	--patience N		a run that was nothing but untimely is made
 *				again with twice the deadline and slack, up to
 *				N times (0): a machine that others load, or
 *				that is emulated, does not show more
 */
#include "tests/ring/kill_judge.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/gather.h"
#include "runtime/clock.h"
#include "tests/ring/kill_place.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PEER_TIMEOUT_MS 2000
#else
#define PEER_TIMEOUT_MS 1000
#endif

/* What is a hang. */
#define HANG_MS 30000

static const char *transport = "shm";
static unsigned passes = KILL_PASSES;
static uint64_t slack_ms = 4000; /* what a busy machine may add */
static unsigned patience;

/* --------------------------------------------------------------- draws */

static uint32_t below(uint64_t *state, uint32_t limit)
{
	return (uint32_t)(whole_random(state) % limit);
}

/* Delays of all sizes up to some milliseconds. */
static uint64_t draw_delay(uint64_t *state)
{
	uint64_t most = UINT64_C(1) << (10 + below(state, 13));

	return whole_random(state) % most;
}

static unsigned draw_at(uint64_t *state)
{
	switch (below(state, 6)) {
	case 0:
		return AT_BORN;
	case 1:
		return AT_OPENING;
	case 2:
		return AT_CLOSING;
	default:
		return AT_PASS(below(state, passes), below(state, POINTS));
	}
}

static void draw(struct run *run)
{
	uint64_t state = run->seed;
	struct kill_world *world = run->world;

	memset(world, 0, sizeof(*world));
	whole_random(&state);
	world->seed = run->seed;
	world->n = 2 + below(&state, KILL_RANKS_MAX - 1);
	world->attention = below(&state, 2);
	world->caller = below(&state, 4) == 0;
	world->slots = 2 + below(&state, 2);
	world->passes = passes;
	world->transport = transport;
	run->victim = below(&state, world->n);
	run->signal = below(&state, 2) ? SIGKILL : SIGSTOP;
	run->wake = below(&state, 2);
	run->at = draw_at(&state);
	run->delay_ns = draw_delay(&state);
}

/* --------------------------------------------------------------- ranks */

static void be_rank(struct run *run, uint32_t rank, int fd)
{
	char text[16];

	/* No rank outlives a test that was ended itself. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	gather_close(run->gather);
	snprintf(text, sizeof(text), "%d", fd);
	setenv("KVRING_BOOTSTRAP_FD", text, 1);
	snprintf(text, sizeof(text), "%u", rank);
	setenv("KVRING_RANK", text, 1);
	snprintf(text, sizeof(text), "%u", run->world->n);
	setenv("KVRING_SIZE", text, 1);
	/* A full exit: the leak checker has its say. */
	exit(kill_rank_main(run->world, rank, run->input));
}

static void spawn(struct run *run)
{
	run->gather = gather_new(run->world->n);
	CHECK(run->gather);
	for (uint32_t i = 0; i < run->world->n; i++) {
		int pair[2];

		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				  pair));
		CHECK(!fcntl(pair[0], F_SETFL, O_NONBLOCK));
		fflush(NULL);
		gather_attach(run->gather, i, pair[0]);
		run->pid[i] = fork();
		CHECK(run->pid[i] >= 0);
		if (run->pid[i] == 0)
			be_rank(run, i, pair[1]);
		close(pair[1]);
	}
}

/* The launcher's part of the bootstrap, for at most so long. */
static void serve(struct run *run, uint64_t wait_ns)
{
	struct timespec wait = {.tv_nsec = (long)wait_ns};
	struct pollfd fds[KILL_RANKS_MAX];
	struct complaint why;

	for (uint32_t i = 0; i < run->world->n; i++)
		fds[i] = (struct pollfd){
			.fd = gather_fd(run->gather, i),
			.events = gather_events(run->gather, i),
		};
	ppoll(fds, run->world->n, &wait, NULL);
	for (uint32_t i = 0; i < run->world->n; i++)
		if (fds[i].fd >= 0 && fds[i].revents &&
		    !gather_serve(run->gather, i, &why))
			kill_complain(run, FAULT_WRONG, "all-gather: %s",
				      why.text);
}

/* How many still run. */
static uint32_t reap(struct run *run)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < run->world->n; i++) {
		if (!run->ended[i] && waitpid(run->pid[i], &run->status[i],
					      WNOHANG) == run->pid[i])
			run->ended[i] = true;
		left += !run->ended[i];
	}
	return left;
}

/* -------------------------------------------------------------- strike */

/* Often enough to strike anywhere; a pass over RDMA takes longer. */
static uint64_t look_ns(void)
{
	return strcmp(transport, "shm") == 0 ? 20000 : 200000;
}

static void strike(struct run *run)
{
	const struct kill_report *victim = &run->world->report[run->victim];
	uint64_t deadline_ns = kvr_clock_ns() + HANG_MS * KVR_NS_PER_MS;

	while (atomic_load_explicit(&victim->at, memory_order_relaxed) <
		       run->at &&
	       kvr_clock_ns() < deadline_ns)
		serve(run, look_ns());
	deadline_ns = kvr_clock_ns() + run->delay_ns;
	while (kvr_clock_ns() < deadline_ns)
		serve(run, 10000);
	run->struck_ns = kvr_clock_ns();
	kill(run->pid[run->victim], run->signal);
}

/*
 * A launcher, too, waits no longer than the time-out for a rank that
 * contributes to nothing any more. That rank may have been stopped while it
 * still held copies of the others' sockets: closing alone would not do.
 */
static void give_up(struct run *run)
{
	if (run->closed ||
	    kvr_clock_ns() - run->struck_ns <= kill_deadline_ns(run))
		return;
	for (uint32_t i = 0; i < run->world->n; i++)
		if (gather_fd(run->gather, i) >= 0)
			shutdown(gather_fd(run->gather, i), SHUT_RDWR);
	gather_close(run->gather);
	run->closed = true;
}

/* Until `most` ranks are left; what then still runs is a hang. */
static void await(struct run *run, uint32_t most)
{
	uint64_t deadline_ns = kvr_clock_ns() + HANG_MS * KVR_NS_PER_MS +
			       2 * kill_deadline_ns(run);

	while (reap(run) > most) {
		if (kvr_clock_ns() > deadline_ns) {
			kill_complain(run, FAULT_WRONG, "a rank hangs");
			return;
		}
		serve(run, KVR_NS_PER_MS);
		give_up(run);
	}
}

static void end_all(struct run *run)
{
	for (uint32_t i = 0; i < run->world->n; i++) {
		if (run->ended[i])
			continue;
		kill(run->pid[i], SIGKILL);
		waitpid(run->pid[i], &run->status[i], 0);
		run->ended[i] = true;
	}
}

/* It was told to stop: it does, unless it ended before. */
static bool victim_stopped(const struct run *run)
{
	siginfo_t info;

	return run->signal == SIGSTOP && !run->ended[run->victim] &&
	       waitid(P_PID, (id_t)run->pid[run->victim], &info,
		      WSTOPPED | WEXITED | WNOWAIT) == 0 &&
	       info.si_code == CLD_STOPPED;
}

static void play(struct run *run)
{
	spawn(run);
	strike(run);
	await(run, run->signal == SIGSTOP ? 1 : 0);
	run->reached = atomic_load(&run->world->report[run->victim].at);
	if (victim_stopped(run)) {
		if (run->wake)
			kill(run->pid[run->victim], SIGCONT);
		else
			end_all(run);
	}
	await(run, 0);
	end_all(run);
	gather_free(run->gather);
}

static void judge_left(struct run *run, const struct place *before, bool alone)
{
	char what[PLACE_TEXT];

	/*
	 * As a subreaper this process inherits every orphan. One that ends at
	 * once is the leak checker's, if its rank was struck under it.
	 */
	for (int i = 0; i < 100 && waitpid(-1, NULL, WNOHANG) != -1; i++)
		usleep(10000);
	if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
		kill_complain(run, FAULT_WRONG, "a process is left");
	if (!place_as_before(before, alone, what))
		kill_complain(run, FAULT_WRONG, "%s", what);
}

/* ---------------------------------------------------------------- runs */

static void print_run(const struct run *run)
{
	const struct kill_world *w = run->world;

	printf("seed %llu: n %u, %s, %s, %u slots; rank %u %s at %u.%u + %llu "
	       "us\n",
	       (unsigned long long)run->seed, w->n,
	       w->attention ? "attention" : "passes",
	       w->caller ? "caller" : "thread", w->slots, run->victim,
	       run->signal == SIGKILL ? "killed" : "stopped", run->at / POINTS,
	       run->at % POINTS, (unsigned long long)run->delay_ns / 1000);
	for (uint32_t i = 0; i < w->n; i++) {
		const struct kill_report *r = &w->report[i];

		printf("  rank %u at %u: status %x, %s %s, %+.6f s: %s\n%s", i,
		       r->at, (unsigned)run->status[i], r->call,
		       kvr_status_name(r->status),
		       r->call[0] ? ((double)r->returned_ns -
				     (double)run->struck_ns) /
					    1e9
				  : 0,
		       r->failure.text, r->log);
	}
}

/* The deadline doubles with each try. */
static void attempt(struct run *run, unsigned try, bool alone,
		    struct tally *tally)
{
	struct place before = place_look(alone);

	draw(run);
	run->world->peer_timeout_ms = PEER_TIMEOUT_MS << try;
	run->slack_ns = slack_ms * KVR_NS_PER_MS << try;
	play(run);
	kill_judge_ranks(run, tally);
	judge_left(run, &before, alone);
}

static void tell(const struct run *run, bool again)
{
	if (run->said[0] && again)
		printf("untimely with a deadline of %u ms, so once more:\n%s",
		       run->world->peer_timeout_ms, run->said);
	else if (run->said[0])
		printf("FAILED (run again: ring_kill 1 %llu):\n%s",
		       (unsigned long long)run->seed, run->said);
	if (run->said[0] || getenv("KVR_TEST_LOG"))
		print_run(run);
	fflush(stdout);
}

static bool one(uint64_t seed, struct kill_world *world,
		const struct kill_input *input, bool alone, struct tally *tally)
{
	bool again = true;
	struct run run;

	for (unsigned try = 0; again; try++) {
		run = (struct run){
			.seed = seed, .world = world, .input = input};
		attempt(&run, try, alone, tally);
		again = run.untimely && !run.wrong && try < patience;
		tally->again += again;
		tell(&run, again);
	}
	tally_run(tally, run.signal == SIGSTOP);
	return run.said[0] == '\0';
}

/* A machine may hold a rank up, but hardly each, in every run. */
static bool sluggish(const struct tally *tally)
{
	uint64_t most_ns = PEER_TIMEOUT_MS * KVR_NS_PER_MS * 3 / 2;
	uint64_t fastest_ns;

	if (!tally_fastest(tally, true, true, &fastest_ns) ||
	    fastest_ns <= most_ns)
		return false;
	printf("FAILED: a stopped rank is never noticed before %.3f s\n",
	       (double)fastest_ns / 1e9);
	return true;
}

static void make_input(struct kill_input *input)
{
	struct kvr_plan_desc desc;

	kvr_plan_desc_init(&desc);
	desc.q_heads = 2;
	desc.kv_heads = 1;
	desc.head_dim = 16;
	desc.mask = KVR_MASK_CAUSAL;
	for (int i = 0; i < 2; i++) {
		struct whole *w = &input->whole[i];

		whole_init(w, &desc, 97, 1000 + (uint64_t)i, 1);
		input->out[i] = malloc(97 * 2 * 16 * sizeof(float));
		input->lse[i] = malloc(97 * 2 * sizeof(float));
		CHECK(input->out[i] && input->lse[i]);
		whole_oracle(w, input->out[i], input->lse[i]);
	}
}

static void free_input(struct kill_input *input)
{
	for (int i = 0; i < 2; i++) {
		whole_fini(&input->whole[i]);
		free(input->out[i]);
		free(input->lse[i]);
	}
}

static uint32_t play_all(uint32_t runs, uint64_t seed, bool alone,
			 struct tally *tally)
{
	struct kill_world *world =
		mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kill_input input;
	uint32_t failed = 0;

	CHECK(world != MAP_FAILED);
	make_input(&input);
	for (uint32_t i = 0; i < runs; i++)
		failed += !one(seed + i, world, &input, alone, tally);
	free_input(&input);
	munmap(world, sizeof(*world));
	return failed;
}

/* The arguments that are left: RUNS and SEED. */
static char **options(int argc, char **argv)
{
	static const struct option known[] = {
		{"transport", required_argument, NULL, 't'},
		{"passes", required_argument, NULL, 'p'},
		{"slack", required_argument, NULL, 's'},
		{"patience", required_argument, NULL, 'w'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		CHECK(option != '?');
		if (option == 't')
			transport = optarg;
		else if (option == 'p')
			passes = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == 's')
			slack_ms = strtoul(optarg, NULL, 10);
		else
			patience = (unsigned)strtoul(optarg, NULL, 10);
	}
	CHECK(passes > 0 && passes <= KILL_PASSES && patience < 8);
	return argv + optind;
}

/*
 * A network namespace of its own shows every socket that is left. RDMA devices
 * would have no address in it: then the whole machine is the test's.
 */
static bool be_alone(void)
{
	return strcmp(transport, "shm") != 0 || !unshare(CLONE_NEWNET) ||
	       !unshare(CLONE_NEWUSER | CLONE_NEWNET);
}

int main(int argc, char **argv)
{
	char **left = options(argc, argv);
	uint32_t runs = left[0] ? (uint32_t)strtoul(left[0], NULL, 10) : 20;
	uint64_t seed = left[0] && left[1] ? strtoull(left[1], NULL, 10)
					   : kvr_clock_ns() / KVR_NS_PER_MS;
	char directory[] = "/tmp/ring_kill.XXXXXX";
	struct tally tally = {.runs = {0}};
	bool alone = be_alone();
	uint32_t failed;

	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHECK(mkdtemp(directory) && !chdir(directory));
	setenv("TMPDIR", directory, 1);
	printf("%u runs from seed %llu, %s, %u passes, peer_timeout %d ms%s\n",
	       runs, (unsigned long long)seed, transport, passes,
	       PEER_TIMEOUT_MS,
	       alone ? "" : "; no network namespace: sockets not counted");
	failed = play_all(runs, seed, alone, &tally);
	CHECK(!rmdir(directory));
	tally_print(&tally);
	printf("%u of %u runs failed\n", failed, runs);
	return failed || !runs || sluggish(&tally) ? 1 : 0;
}
