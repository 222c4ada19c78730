// SPDX-License-Identifier: BSD-3-Clause
/*
 * Theory of operation
 *
 *   begin    no new privileges, not dumpable        first thing of the program
 *   ...      sockets, images, rings are opened
 *   confine  capabilities -> Landlock -> seccomp    before a peer's first byte
 *
 * The order within: dropping capabilities needs calls that the filter refuses, Landlock too. All three are
 * a thread's own and are inherited by threads that it starts later; threads that run already would
 * keep what they have, so that there may be none (device/io_threads.c starts its own with the first work).
 *
 * It fails closed: where the kernel refuses one of these, the program does not start, and says which
 * option would let it. Landlock is the exception, since kernels before 5.13 have none: seccomp alone closes
 * every door of threat-model.md, Landlock closes them once more, whatever the call. Without it no file can be
 * removed: the sockets stay behind, and the next start finds them stale.
 *
 * Sanitizers and coverage open files and trace their own process at the end. A build with them is not
 * confined, and says so.
 */
#include "confine/confine.h"

#include <cap-ng.h>
#include <string.h>
#include <sys/prctl.h>

#include "confine/filter.h"
#include "confine/landlock.h"

#ifdef VHX_INSTRUMENTED
static const bool instrumented = true;
#else
static const bool instrumented;
#endif

static int failed(struct vhx_error *err, const char *what, int ret)
{
	vhx_error_set(err, "sandbox: %s: %s; --sandbox off goes without", what, strerror(-ret));
	return ret;
}

int vhx_confine_begin(enum vhx_confine_mode mode, struct vhx_error *err)
{
	if (mode == VHX_CONFINE_OFF || instrumented)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return failed(err, "no new privileges", -errno);
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return failed(err, "not dumpable", -errno);
	return 0;
}

/* The bounding set can be lowered only by who has a capability to lose. */
static int capabilities_drop(void)
{
	capng_select_t set = CAPNG_SELECT_CAPS;

	if (capng_get_caps_process())
		return -EPERM;
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		set = CAPNG_SELECT_ALL;
	capng_clear(CAPNG_SELECT_ALL);
	return capng_apply(set) ? -EPERM : 0;
}

static int landlock_try(const struct vhx_confine_config *cfg, bool *enforced)
{
	int ret = 0;

	if (cfg->mode == VHX_CONFINE_ON)
		ret = vhx_landlock_enforce(cfg->removes, cfg->removes_cnt);
	*enforced = !ret;
	if (ret != -EOPNOTSUPP)
		return ret;
	vhx_log(cfg->log, VHX_LOG_NOTICE,
		"sandbox: no Landlock in this kernel: sockets stay behind at the end");
	return 0;
}

static bool is_off(const struct vhx_confine_config *cfg)
{
	if (cfg->mode == VHX_CONFINE_OFF)
		vhx_log(cfg->log, VHX_LOG_NOTICE, "sandbox: off");
	else if (instrumented)
		vhx_log(cfg->log, VHX_LOG_NOTICE, "sandbox: off: this is an instrumented build");
	return cfg->mode == VHX_CONFINE_OFF || instrumented;
}

int vhx_confine(const struct vhx_confine_config *cfg, struct vhx_error *err)
{
	bool landlock;
	int ret;

	if (is_off(cfg))
		return 0;
	ret = capabilities_drop();
	if (ret)
		return failed(err, "capabilities", ret);
	ret = landlock_try(cfg, &landlock);
	if (ret)
		return failed(err, "Landlock", ret);
	ret = vhx_filter_install(cfg->role, cfg->mode == VHX_CONFINE_LOG, landlock);
	if (ret)
		return failed(err, "seccomp", ret);
	vhx_log(cfg->log, VHX_LOG_DEBUG, "sandbox: %s%s", cfg->role->name,
		cfg->mode == VHX_CONFINE_LOG ? ", logging only" : "");
	return 0;
}
