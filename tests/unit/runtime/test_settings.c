/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/settings.h"

static char log_text[1024];

static void keep_line(void *arg, enum kvr_log_level level, const char *line)
{
	(void)arg, (void)level;
	snprintf(log_text, sizeof(log_text), "%s", line);
}

static const struct kvr_log log_sink = {.sink = keep_line,
					.level = KVR_LOG_ERROR};

static int clear(void **state)
{
	static const char *const names[] = {
		"KVRING_DEVICE",      "KVRING_QPS",
		"KVRING_GID_INDEX",   "KVRING_SECRET",
		"KVRING_SECRET_FILE", "KVRING_ADAPTIVE_ROUTING",
		"KVRING_INTEGRITY",   "KVRING_GPU_WAY",
		"KVRING_GPU_FLUSH",   "KVRING_GPU_PCIE"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
	log_text[0] = '\0';
	return 0;
}

/* ----------------------------------------------------------- transport */

static struct kvr_transport_config settle(struct kvr_context_options *options)
{
	struct kvr_transport_config config;

	assert_int_equal(kvr_settings_transport(options, &log_sink, &config),
			 KVR_OK);
	return config;
}

static void transport_nothing_set_is_the_default(void **state)
{
	struct kvr_context_options options;
	struct kvr_transport_config config;

	(void)state;
	kvr_context_options_init(&options);
	config = settle(&options);
	assert_null(config.devices);
	assert_int_equal(config.queue_pairs, 0);
	assert_int_equal(config.gid_index, 0);
	assert_false(config.adaptive_routing);
	assert_ptr_equal(config.log, &log_sink);
}

static void transport_environment_answers_what_options_leave(void **state)
{
	struct kvr_context_options options;
	struct kvr_transport_config config;

	(void)state;
	setenv("KVRING_DEVICE", "a,b:2", 1);
	setenv("KVRING_QPS", "3", 1);
	setenv("KVRING_GID_INDEX", "0", 1);
	kvr_context_options_init(&options);
	config = settle(&options);
	assert_string_equal(config.devices, "a,b:2");
	assert_int_equal(config.queue_pairs, 3);
	assert_int_equal(config.gid_index, 1);
	free((void *)(uintptr_t)config.devices);

	options.devices = "c";
	options.queue_pairs = 2;
	options.gid_index = 7;
	config = settle(&options);
	assert_string_equal(config.devices, "c");
	assert_ptr_not_equal(config.devices, options.devices);
	assert_int_equal(config.queue_pairs, 2);
	assert_int_equal(config.gid_index, 8);
	free((void *)(uintptr_t)config.devices);
}

static void integrity_is_option_then_environment(void **state)
{
	int32_t out = 7;

	(void)state;
	assert_int_equal(kvr_settings_integrity(-1, &log_sink, &out), KVR_OK);
	assert_int_equal(out, 0);
	setenv("KVRING_INTEGRITY", "1", 1);
	assert_int_equal(kvr_settings_integrity(-1, &log_sink, &out), KVR_OK);
	assert_int_equal(out, 1);
	assert_int_equal(kvr_settings_integrity(0, &log_sink, &out), KVR_OK);
	assert_int_equal(out, 0);
	setenv("KVRING_INTEGRITY", "yes", 1);
	assert_int_equal(kvr_settings_integrity(1, &log_sink, &out), KVR_OK);
	assert_int_equal(out, 1);
	assert_int_equal(kvr_settings_integrity(-1, &log_sink, &out),
			 KVR_ERR_INVALID);
	assert_non_null(strstr(log_text, "KVRING_INTEGRITY: 'yes' is not a "
					 "whole number up to 1"));
}

static void transport_adaptive_routing_is_option_then_environment(void **state)
{
	struct kvr_context_options options;
	struct kvr_transport_config config;

	(void)state;
	kvr_context_options_init(&options);
	options.adaptive_routing = 1;
	assert_true(settle(&options).adaptive_routing);
	setenv("KVRING_ADAPTIVE_ROUTING", "1", 1);
	options.adaptive_routing = 0;
	assert_false(settle(&options).adaptive_routing);
	options.adaptive_routing = -1;
	assert_true(settle(&options).adaptive_routing);
	setenv("KVRING_ADAPTIVE_ROUTING", "0", 1);
	assert_false(settle(&options).adaptive_routing);
	setenv("KVRING_ADAPTIVE_ROUTING", "2", 1);
	assert_int_equal(kvr_settings_transport(&options, &log_sink, &config),
			 KVR_ERR_INVALID);
	assert_non_null(strstr(log_text, "KVRING_ADAPTIVE_ROUTING"));
}

static void transport_no_number_is_refused_by_name(void **state)
{
	static const char *const bad[] = {"x",	"-1",	       "1x",
					  " 1", "99999999999", "5"};
	struct kvr_context_options options;
	struct kvr_transport_config config;

	(void)state;
	kvr_context_options_init(&options);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv("KVRING_QPS", bad[i], 1);
		assert_int_equal(
			kvr_settings_transport(&options, &log_sink, &config),
			KVR_ERR_INVALID);
		assert_non_null(strstr(log_text, "KVRING_QPS"));
		assert_non_null(strstr(log_text, bad[i]));
	}
	unsetenv("KVRING_QPS");
	options.queue_pairs = KVR_QUEUE_PAIRS_MAX + 1;
	assert_int_equal(kvr_settings_transport(&options, &log_sink, &config),
			 KVR_ERR_INVALID);
}

/* ----------------------------------------------------------------- GPU */

static void gpu_nothing_set_is_the_default(void **state)
{
	struct kvr_gpu_settings gpu;

	(void)state;
	assert_int_equal(kvr_settings_gpu(NULL, &log_sink, &gpu), KVR_OK);
	assert_int_equal(gpu.way, KVR_GPU_WAY_AUTO);
	assert_int_equal(gpu.flush, KVR_GPU_FLUSH_AUTO);
	assert_int_equal(gpu.pcie, 0);
	assert_non_null(gpu.present);
}

static void gpu_environment_answers_what_options_leave(void **state)
{
	struct kvr_gpu_options options;
	struct kvr_gpu_settings gpu;

	(void)state;
	setenv("KVRING_GPU_WAY", "peermem", 1);
	setenv("KVRING_GPU_FLUSH", "host", 1);
	setenv("KVRING_GPU_PCIE", "0", 1);
	kvr_gpu_options_init(&options);
	assert_int_equal(kvr_settings_gpu(&options, &log_sink, &gpu), KVR_OK);
	assert_int_equal(gpu.way, KVR_GPU_WAY_PEERMEM);
	assert_int_equal(gpu.flush, KVR_GPU_FLUSH_HOST);
	assert_int_equal(gpu.pcie, -1);
	options.way = KVR_GPU_WAY_DMABUF;
	options.flush = KVR_GPU_FLUSH_NONE;
	options.pcie = 1;
	assert_int_equal(kvr_settings_gpu(&options, &log_sink, &gpu), KVR_OK);
	assert_int_equal(gpu.way, KVR_GPU_WAY_DMABUF);
	assert_int_equal(gpu.flush, KVR_GPU_FLUSH_NONE);
	assert_int_equal(gpu.pcie, 1);
}

static void gpu_wrong_words_are_refused_and_named(void **state)
{
	static const char *const wrong[][3] = {
		{"KVRING_GPU_WAY", "dma-buf", "none of auto, dmabuf, peermem"},
		{"KVRING_GPU_FLUSH", "Read", "none of auto, none, host, read"},
		{"KVRING_GPU_PCIE", "2", "KVRING_GPU_PCIE"},
	};
	struct kvr_gpu_options options;
	struct kvr_gpu_settings gpu;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		clear(state);
		setenv(wrong[i][0], wrong[i][1], 1);
		assert_int_equal(kvr_settings_gpu(NULL, &log_sink, &gpu),
				 KVR_ERR_INVALID);
		assert_non_null(strstr(log_text, wrong[i][0]));
		assert_non_null(strstr(log_text, wrong[i][2]));
	}
	clear(state);
	memset(&options, 0, sizeof(options));
	assert_int_equal(kvr_settings_gpu(&options, &log_sink, &gpu),
			 KVR_ERR_INVALID);
}

/* -------------------------------------------------------------- secret */

static void secret_expect(const char *given, const char *want)
{
	struct kvr_secret secret;

	assert_int_equal(kvr_settings_secret(given, given ? strlen(given) : 0,
					     &log_sink, &secret),
			 KVR_OK);
	if (!want) {
		assert_null(secret.data);
		return;
	}
	assert_int_equal(secret.bytes, strlen(want));
	assert_memory_equal(secret.data, want, secret.bytes);
}

static void write_file(const char *path, const char *text, size_t bytes)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, bytes, file), bytes);
	fclose(file);
}

static void secret_given_then_variable_or_file(void **state)
{
	char path[] = "/tmp/kvring-secret.XXXXXX";
	struct kvr_secret secret;

	(void)state;
	close(mkstemp(path));
	secret_expect(NULL, NULL);
	write_file(path, "from a file\n", 12);
	setenv("KVRING_SECRET_FILE", path, 1);
	secret_expect(NULL, "from a file");
	setenv("KVRING_SECRET", "from a variable", 1);
	assert_int_equal(kvr_settings_secret(NULL, 0, &log_sink, &secret),
			 KVR_ERR_INVALID);
	secret_expect("given", "given");
	unsetenv("KVRING_SECRET_FILE");
	secret_expect(NULL, "from a variable");
	unlink(path);
}

static void secret_of_impossible_length_is_refused(void **state)
{
	static char text[KVR_SECRET_MAX + 3];
	char path[] = "/tmp/kvring-secret.XXXXXX";
	struct kvr_secret secret;

	(void)state;
	close(mkstemp(path));
	setenv("KVRING_SECRET_FILE", path, 1);
	for (size_t length = 0; length < sizeof(text);
	     length += sizeof(text) - 1) {
		write_file(path, text, length);
		assert_int_equal(
			kvr_settings_secret(NULL, 0, &log_sink, &secret),
			KVR_ERR_INVALID);
	}
	write_file(path, text, KVR_SECRET_MAX);
	assert_int_equal(kvr_settings_secret(NULL, 0, &log_sink, &secret),
			 KVR_OK);
	unlink(path);
	assert_int_equal(kvr_settings_secret(NULL, 0, &log_sink, &secret),
			 KVR_ERR_INVALID);
	assert_non_null(strstr(log_text, path));
	kvr_secret_forget(&secret);
	assert_null(secret.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(transport_nothing_set_is_the_default,
				       clear),
		cmocka_unit_test_setup(
			transport_environment_answers_what_options_leave,
			clear),
		cmocka_unit_test_setup(
			transport_adaptive_routing_is_option_then_environment,
			clear),
		cmocka_unit_test_setup(integrity_is_option_then_environment,
				       clear),
		cmocka_unit_test_setup(transport_no_number_is_refused_by_name,
				       clear),
		cmocka_unit_test_setup(gpu_nothing_set_is_the_default, clear),
		cmocka_unit_test_setup(
			gpu_environment_answers_what_options_leave, clear),
		cmocka_unit_test_setup(gpu_wrong_words_are_refused_and_named,
				       clear),
		cmocka_unit_test_setup(secret_given_then_variable_or_file,
				       clear),
		cmocka_unit_test_setup(secret_of_impossible_length_is_refused,
				       clear),
	};

	return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
