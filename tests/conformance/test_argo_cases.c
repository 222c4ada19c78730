// SPDX-License-Identifier: BSD-3-Clause
/* The cases of argo_cases.c on the model, in each way that a host can be started. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "argo_cases.h"
#include "exchange/argo_hv.h"

enum { DOM_A = 1, DOM_B = 2 };

struct model_domain {
	struct vhx_argo_hv *hv;
	uint16_t domid;
	int event_fd;
};

static int64_t model_op(void *ctx, unsigned int cmd, const void *arg1, const void *arg2,
			uint64_t arg3, uint64_t arg4)
{
	struct model_domain *d = ctx;
	struct vhx_argo_ring_data data;

	/* The model has the entries of notify behind a pointer. */
	if (cmd == ARGO_OP_NOTIFY && arg1) {
		const struct argo_ring_data *inline_data = arg1;

		data = (struct vhx_argo_ring_data){
			.nent = inline_data->nent,
			.pad = inline_data->pad,
			.data = (struct argo_ring_data_ent *)(uintptr_t)(inline_data + 1),
		};
		arg1 = &data;
	}
	return vhx_argo_op(d->hv, d->domid, cmd, (void *)(uintptr_t)arg1, (void *)(uintptr_t)arg2,
			   arg3, arg4);
}

static int model_frames_new(void *ctx, uint32_t pages, struct argo_frames *frames)
{
	(void)ctx;
	frames->ring = calloc(pages, ARGO_PAGE_SIZE);
	frames->arg2 = frames->ring;
	return frames->ring ? 0 : -ENOMEM;
}

static void model_frames_free(void *ctx, struct argo_frames *frames)
{
	(void)ctx;
	free(frames->ring);
}

static bool model_event(void *ctx, bool want)
{
	struct model_domain *d = ctx;
	uint64_t n;

	/* An event comes before the call that raises it returns. */
	(void)want;
	return read(d->event_fd, &n, sizeof(n)) == sizeof(n);
}

static const struct argo_domain_ops model_ops = {
	.op = model_op,
	.frames_new = model_frames_new,
	.frames_free = model_frames_free,
	.event = model_event,
};

struct lab {
	struct model_domain domains[2];
	struct argo_side sides[2];
	unsigned int offers; /* of ARGO_* */
	unsigned int cases, faults;
};

static void side_open(struct lab *lab, int n, uint16_t domid, uint16_t peer)
{
	struct model_domain *d = &lab->domains[n];

	d->domid = domid;
	assert_int_equal(vhx_argo_domain_create(d->hv, domid, true, &d->event_fd), 0);
	lab->sides[n] = (struct argo_side){
		.ops = &model_ops,
		.ctx = d,
		.domid = domid,
		.peer = peer,
		.denied = -EPERM,
		.buffer = malloc(ARGO_SIDE_BUFFER),
	};
	assert_non_null(lab->sides[n].buffer);
}

static void lab_open(struct lab *lab, const struct vhx_argo_hv_config *config)
{
	struct vhx_argo_hv *hv = vhx_argo_hv_new(config);

	assert_non_null(hv);
	lab->domains[0].hv = lab->domains[1].hv = hv;
	side_open(lab, 0, DOM_A, DOM_B);
	side_open(lab, 1, DOM_B, DOM_A);
}

static void lab_close(struct lab *lab)
{
	vhx_argo_hv_unref(lab->domains[0].hv);
	free(lab->sides[0].buffer);
	free(lab->sides[1].buffer);
}

static void lab_clear(struct lab *lab)
{
	argo_side_clear(&lab->sides[0]);
	argo_side_clear(&lab->sides[1]);
}

/* Each case that asks for nothing that isn't offered; says which step of which is wrong. */
static void lab_run(struct lab *lab)
{
	const char *name = NULL;
	bool skip = true;
	char why[128];

	for (size_t i = 0; i < argo_step_cnt(); i++) {
		unsigned int needs;
		const char *begins = argo_step_case(i, &needs);

		if (begins) {
			lab_clear(lab);
			name = begins;
			skip = needs & ~lab->offers;
			lab->cases += !skip;
			continue;
		}
		if (skip || !argo_step_run(&lab->sides[argo_step_is_peer(i)], i, why, sizeof(why)))
			continue;
		print_error("%s: step %zu: %s\n", name, i, why);
		lab->faults++;
		skip = true;
	}
	lab_clear(lab);
}

static void run_with(const struct vhx_argo_hv_config *config, unsigned int offers,
		     unsigned int cases_min)
{
	struct lab lab = { .offers = offers };

	lab_open(&lab, config);
	lab_run(&lab);
	lab_close(&lab);
	assert_int_equal(lab.faults, 0);
	assert_true(lab.cases >= cases_min);
}

static void test_off(void **state)
{
	static const struct vhx_argo_hv_config config = { .enabled = false };

	(void)state;
	run_with(&config, ARGO_OFF, 1);
}

static void test_strict(void **state)
{
	static const struct vhx_argo_hv_config config = { .enabled = true };

	(void)state;
	run_with(&config, ARGO_ON | ARGO_STRICT | ARGO_PAIR | ARGO_ALLOWED | ARGO_SPOIL, 30);
}

static void test_permissive(void **state)
{
	static const struct vhx_argo_hv_config config = { .enabled = true, .mac_permissive = true };

	(void)state;
	run_with(&config, ARGO_ON | ARGO_PERMISSIVE | ARGO_PAIR | ARGO_ALLOWED, 30);
}

static int refuse(uint16_t src, uint16_t dst)
{
	return src == dst ? 0 : -EPERM;
}

static void test_refused(void **state)
{
	static const struct vhx_argo_hv_config config = { .enabled = true,
							  .may_send = refuse,
							  .may_register = refuse };

	(void)state;
	run_with(&config, ARGO_ON | ARGO_PAIR | ARGO_REFUSED, 20);
}

static void test_ended(void **state)
{
	static const struct vhx_argo_hv_config config = { .enabled = true };
	struct lab lab = { .offers = ARGO_ON | ARGO_LONE };

	(void)state;
	lab_open(&lab, &config);
	vhx_argo_domain_destroy(lab.domains[1].hv, DOM_B);
	/* Nothing of this is the ended domain's. */
	lab.sides[1] = (struct argo_side){ .ops = &model_ops,
					   .ctx = &lab.domains[0],
					   .buffer = lab.sides[1].buffer };
	lab_run(&lab);
	lab_close(&lab);
	assert_int_equal(lab.faults, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),	   cmocka_unit_test(test_strict),
		cmocka_unit_test(test_permissive), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
