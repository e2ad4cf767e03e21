/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/info_gpu.h"
#include "cli/table.h"
#include "kvring/kvring.h"

struct machine {
	char processor[128];
	char features[512]; /* those that kernels are chosen by */
	struct utsname system;
	int processors;
	uint64_t memory, memlock;
};

static void read_value(const char *line, char *out, size_t size)
{
	const char *value = strchr(line, ':');

	if (!value)
		return;
	value += strspn(value, ": \t");
	snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
}

/* Of the hundred or so of a processor, those that matter here. */
static bool matters(const char *flag)
{
	static const char *const wanted[] = {
		"sse4_2",      "avx",	   "fma",	  "f16c",
		"avx2",	       "avx512f",  "avx512bw",	  "avx512vl",
		"avx512dq",    "amx_tile", "avx512_bf16", "amx_bf16",
		"avx512_fp16", "avx_vnni", "asimd",	  "sve",
		"bf16",	       "svebf16",
	};
	size_t i;

	for (i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		if (!strcmp(flag, wanted[i]))
			return true;
	return false;
}

static void read_features(char *flags, char *out, size_t size)
{
	size_t used = 0;
	char *flag, *rest;

	for (flag = strtok_r(flags, " ", &rest); flag;
	     flag = strtok_r(NULL, " ", &rest))
		if (matters(flag) && used + strlen(flag) + 2 < size)
			used += (size_t)snprintf(out + used, size - used,
						 "%s%s", used ? " " : "", flag);
}

static void read_processor(struct machine *m)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char *line = NULL, flags[8192];
	size_t size = 0;

	if (!file)
		return;
	while (getline(&line, &size, file) > 0) {
		if (m->processor[0] == '\0' && !strncmp(line, "model name", 10))
			read_value(line, m->processor, sizeof(m->processor));
		if (m->features[0] == '\0' && (!strncmp(line, "flags", 5) ||
					       !strncmp(line, "Features", 8))) {
			flags[0] = '\0';
			read_value(line, flags, sizeof(flags));
			read_features(flags, m->features, sizeof(m->features));
		}
	}
	free(line);
	fclose(file);
}

static struct machine machine_read(void)
{
	struct machine m = {.processors = 1};
	struct rlimit limit;
	cpu_set_t set;

	read_processor(&m);
	if (m.processor[0] == '\0')
		snprintf(m.processor, sizeof(m.processor), "unknown");
	uname(&m.system);
	if (!sched_getaffinity(0, sizeof(set), &set))
		m.processors = CPU_COUNT(&set);
	m.memory = (uint64_t)sysconf(_SC_PHYS_PAGES) *
		   (uint64_t)sysconf(_SC_PAGESIZE);
	if (!getrlimit(RLIMIT_MEMLOCK, &limit))
		m.memlock = limit.rlim_cur;
	return m;
}

static void print_backends(const char *kind)
{
	struct kvr_backend_info info;
	uint32_t i;

	for (i = 0;; i++) {
		kvr_backend_info_init(&info);
		if (kvr_backend_get_info(i, &info) != KVR_OK)
			return;
		if (!strcmp(info.kind, kind))
			printf("%-11s %-10s %-10s %s\n", info.kind, info.name,
			       info.usable ? "usable" : "not usable",
			       info.reason);
	}
}

static void print_text(const struct machine *m)
{
	char memory[24], memlock[24] = "unlimited";

	table_bytes(m->memory, memory, sizeof(memory));
	if (m->memlock != RLIM_INFINITY)
		table_bytes(m->memlock, memlock, sizeof(memlock));
	printf("kvring      %s (ABI %u.%u)\n", kvr_version(),
	       kvr_abi_version() >> 16, kvr_abi_version() & 0xffff);
	printf("system      %s %s, %s\n", m->system.sysname, m->system.release,
	       m->system.machine);
	printf("processor   %s\n", m->processor);
	printf("features    %s\n", m->features[0] ? m->features : "none known");
	printf("usable      %d processor%s, %s memory\n", m->processors,
	       m->processors == 1 ? "" : "s", memory);
	printf("memlock     %s (locked memory, for RDMA)\n", memlock);
	print_backends("compute");
	info_gpu_print();
	print_backends("transport");
	print_backends("bootstrap");
}

static json_t *backends_json(const char *kind)
{
	json_t *array = json_array();
	struct kvr_backend_info info;
	uint32_t i;

	for (i = 0;; i++) {
		kvr_backend_info_init(&info);
		if (kvr_backend_get_info(i, &info) != KVR_OK)
			return array;
		if (!strcmp(info.kind, kind))
			json_array_append_new(array,
					      json_pack("{s:s, s:b, s:s}",
							"name", info.name,
							"usable", info.usable,
							"reason", info.reason));
	}
}

static bool print_json(const struct machine *m)
{
	json_t *memlock = m->memlock == RLIM_INFINITY
				  ? json_null()
				  : json_integer((json_int_t)m->memlock);
	json_t *root = json_pack(
		"{s:s, s:i, s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:o, s:o, "
		"s:o, s:o, s:o}",
		"version", kvr_version(), "abi_major",
		(int)(kvr_abi_version() >> 16), "abi_minor",
		(int)(kvr_abi_version() & 0xffff), "system", m->system.sysname,
		"release", m->system.release, "machine", m->system.machine,
		"processor", m->processor, "features", m->features,
		"processors", m->processors, "memory_bytes",
		(json_int_t)m->memory, "memlock_bytes", memlock, "kernels",
		backends_json("compute"), "gpus", info_gpu_json(), "transports",
		backends_json("transport"), "bootstraps",
		backends_json("bootstrap"));
	bool ok = root && !json_dumpf(root, stdout, JSON_INDENT(2)) &&
		  putchar('\n') != EOF;

	json_decref(root);
	return ok;
}

enum key { KEY_JSON = 256 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	bool *json = state->input;

	switch (key) {
	case KEY_JSON:
		*json = true;
		return 0;
	case ARGP_KEY_ARG:
		usage_error(state, "argument", arg, "expected");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cmd_info(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"json", KEY_JSON, 0, 0, "Print JSON", 0}, {0}};
	static const struct argp argp = {
		options,
		parse,
		NULL,
		"Prints the version, the machine, and for each kernel, GPU, "
		"transport and way to meet whether it is usable here, and why "
		"not.\v"
		"Exit status: 0 done, 1 failed, 2 wrong usage.",
		0,
		0,
		0};
	struct machine m;
	bool json = false, ok = true;

	argp_parse(&argp, argc, argv, 0, 0, &json);
	m = machine_read();
	if (json)
		ok = print_json(&m);
	else
		print_text(&m);
	if (ok && !fflush(stdout) && !ferror(stdout))
		return CLI_OK;
	say_output_error();
	return CLI_FAILED;
}
