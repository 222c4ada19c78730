// SPDX-License-Identifier: BSD-3-Clause
/* What one device costs: sections, tables and staging of both ends, as the stats count them. */
#include "lab.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

static uint64_t memory_of(const struct lab_config *cfg)
{
	uint64_t memory;
	struct lab w;

	lab_open(&w, cfg);
	lab_start(&w, 0);
	lab_source_plan(&w.src[0], 100, LAB_READ, sizeof(struct lab_head), 4096);
	lab_finish(&w, &w.src[0], 100);
	memory = vhx_frontend_memory(w.fe) + vhx_backend_memory(w.be);
	lab_close(&w);
	return memory;
}

/* The mediators' defaults: rings of 1 MiB, staging of twice that, requests of up to 1 MiB. */
static void test_default_device_within_12_mib(void **state)
{
	struct lab_config cfg = lab_default;

	cfg.max_out = (1u << 20) + sizeof(struct lab_head);
	cfg.max_in = (1u << 20) + 1;
	assert_in_range(memory_of(&cfg), 2 * MIB, 12 * MIB);
}

/* --ring-size 32K: staging and requests shrink with it. */
static void test_small_device_within_512_kib(void **state)
{
	struct lab_config cfg = lab_default;

	cfg.ring_len = 32u << 10;
	cfg.staging = 64u << 10;
	cfg.queue_size = 128;
	cfg.max_out = (32u << 10) + sizeof(struct lab_head);
	cfg.max_in = (32u << 10) + 1;
	assert_in_range(memory_of(&cfg), 64 * KIB, 512 * KIB);
}

/* What the stats do not say is not there: they grow and shrink with what is in use. */
static void test_memory_comes_and_goes_with_queue_and_channel(void **state)
{
	uint64_t idle, running;
	struct lab w;

	lab_open(&w, &lab_default);
	idle = vhx_frontend_memory(w.fe) + vhx_backend_memory(w.be);
	lab_start(&w, 0);
	lab_settle(&w);
	running = vhx_frontend_memory(w.fe) + vhx_backend_memory(w.be);
	assert_true(running > idle + w.cfg.staging);
	vhx_fdev_abandon(w.fdev[0].fdev);
	lab_settle(&w);
	assert_int_equal(vhx_frontend_memory(w.fe) + vhx_backend_memory(w.be), idle);
	lab_close(&w);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default_device_within_12_mib),
		cmocka_unit_test(test_small_device_within_512_kib),
		cmocka_unit_test(test_memory_comes_and_goes_with_queue_and_channel),
	};

	return cmocka_run_group_tests_name("stack: memory", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return lab_main(argc, argv, run);
}
