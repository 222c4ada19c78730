// SPDX-License-Identifier: BSD-3-Clause
/*
 * From tables to a filter in the kernel.
 *
 * What no row names answers EPERM: the caller can go on without, as C libraries do that try something new. What
 * is a door ends the process: no code of ours goes there. The kernel's audit log names both. Calls of another
 * ABI (32-bit calls of a 64-bit process) end it as well.
 */
#include "confine/filter.h"

#include <unistd.h>

#include "confine/calls.h"

/* libseccomp: 2 is a binary tree instead of a list of comparisons. */
#define FILTER_TREE 2

static int rule_add(scmp_filter_ctx ctx, uint32_t action, const struct vhx_call *c)
{
	struct scmp_arg_cmp cmp = SCMP_CMP(c->arg, SCMP_CMP_MASKED_EQ, c->mask, c->value);

	return seccomp_rule_add_array(ctx, action, c->nr, c->mask ? 1 : 0, &cmp);
}

static int rules_add(scmp_filter_ctx ctx, uint32_t action, const struct vhx_calls *calls)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < calls->cnt; i++)
		ret = rule_add(ctx, action, &calls->rows[i]);
	return ret;
}

static int role_add(scmp_filter_ctx ctx, const struct vhx_confine_role *role)
{
	unsigned int bit;
	int ret = 0;

	for (bit = 0; !ret && bit < VHX_CALLS_CNT; bit++) {
		if (role->calls & (1u << bit))
			ret = rules_add(ctx, SCMP_ACT_ALLOW, vhx_calls_group(bit));
	}
	return ret;
}

/* A failed assertion may end this process, and only this. */
static int abort_add(scmp_filter_ctx ctx)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				SCMP_A0(SCMP_CMP_EQ, (uint64_t)getpid()));
}

/* C libraries then take clone(2), whose flags can be looked at. */
static int clone3_add(scmp_filter_ctx ctx, bool log_only)
{
	return log_only ? 0 : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int attributes_set(scmp_filter_ctx ctx)
{
	int ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1);
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, FILTER_TREE);
	return ret;
}

static int filter_fill(scmp_filter_ctx ctx, const struct vhx_confine_role *role, bool log_only,
		       bool removing)
{
	int ret = attributes_set(ctx);

	if (!ret)
		ret = role_add(ctx, role);
	if (!ret && removing)
		ret = rules_add(ctx, SCMP_ACT_ALLOW, vhx_calls_remove());
	if (!ret)
		ret = abort_add(ctx);
	if (!ret)
		ret = clone3_add(ctx, log_only);
	/* To log a door is what the rest does anyway. */
	if (!ret && !log_only)
		ret = rules_add(ctx, SCMP_ACT_KILL_PROCESS, vhx_calls_doors());
	return ret;
}

int vhx_filter_install(const struct vhx_confine_role *role, bool log_only, bool removing)
{
	scmp_filter_ctx ctx = seccomp_init(log_only ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(EPERM));
	int ret;

	if (!ctx)
		return -ENOMEM;
	ret = filter_fill(ctx, role, log_only, removing);
	if (!ret)
		ret = seccomp_load(ctx);
	seccomp_release(ctx);
	return ret;
}
