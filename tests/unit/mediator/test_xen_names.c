// SPDX-License-Identifier: BSD-3-Clause
/* Names of domains, followed with a library that has xenstore in a folder; without one, and without xenstore. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <vhx/argo.h>

#include "mediator/xen_names.h"

#define TURNS_MAX 3000
#define UUID_WEB "0f5a2c1e-7d3b-4c66-9e51-a0b1c2d3e4f5"

static char folder[] = "/tmp/vhx-names.XXXXXX";
static int events;
static uint16_t found_domid[4];
static unsigned int found_cnt;
static bool lost;

static void found(void *ctx, uint32_t index, uint16_t domid)
{
	found_domid[index] = domid;
	found_cnt++;
}

static void lose(void *ctx)
{
	lost = true;
}

static void put(uint16_t domid, const char *name, const char *value)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/local/domain/%u", folder, domid);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/local/domain/%u/%s", folder, domid, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, value, strlen(value)), strlen(value));
	close(fd);
}

static void domain_add(uint16_t domid, const char *name, const char *vm)
{
	put(domid, "name", name);
	put(domid, "vm", vm);
}

static void domain_remove(uint16_t domid)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -r %s/local/domain/%u", folder, domid);
	assert_int_equal(system(command), 0);
}

static void event(void)
{
	assert_int_equal(write(events, "x", 1), 1);
}

static void turns(struct vhx_loop *loop, unsigned int cnt)
{
	for (int i = 0; i < TURNS_MAX && found_cnt < cnt && !lost; i++)
		assert_int_equal(vhx_loop_once(loop, 10), 0);
	assert_int_equal(found_cnt, cnt);
}

static int names_open(struct vhx_loop *loop, struct vhx_xen_names **names, struct vhx_error *err)
{
	struct vhx_xen_name list[3] = { { .index = 2 }, { .index = 0 }, { .index = 1 } };
	struct vhx_xen_names_config cfg = {
		.loop = loop, .names = list, .names_cnt = 3, .found = found, .lost = lose
	};

	found_cnt = 0;
	lost = false;
	assert_int_equal(vhx_argo_spec_parse("argo:name:web", &list[0].spec, err), 0);
	assert_int_equal(vhx_argo_spec_parse("argo:uuid:" UUID_WEB, &list[1].spec, err), 0);
	assert_int_equal(vhx_argo_spec_parse("argo:name:we", &list[2].spec, err), 0);
	return vhx_xen_names_open(&cfg, names, err);
}

static void test_names_follow_reboots(void **state)
{
	struct vhx_xen_names *names;
	struct vhx_error err;
	struct vhx_loop *loop;

	assert_int_equal(vhx_loop_new(0, &loop), 0);
	domain_add(0, "Domain-0", "/vm/00000000-0000-0000-0000-000000000000");
	assert_int_equal(names_open(loop, &names, &err), 0);
	for (uint16_t domid = 9; domid < 13; domid++) {
		domain_add(domid, "web", "/vm/" UUID_WEB);
		domain_add((uint16_t)(domid + 100), "webs", "/vm/" UUID_WEB "0");
		event();
		turns(loop, 4u * (domid - 9u) + 2);
		assert_int_equal(found_domid[2], domid);
		assert_int_equal(found_domid[0], domid);
		/* Around a reboot there may be two of a name: the newer one. */
		domain_add(domid + 20, "web", "/vm/" UUID_WEB);
		event();
		turns(loop, 4u * (domid - 9u) + 4);
		assert_int_equal(found_domid[2], domid + 20);
		domain_remove(domid + 20);
		domain_remove(domid);
		if (domid == 12)
			event();
	}
	turns(loop, 18);
	assert_int_equal(found_domid[2], ARGO_DOMID_ANY);
	assert_int_equal(found_domid[0], ARGO_DOMID_ANY);
	vhx_xen_names_close(names);
	vhx_loop_free(loop);
}

static void test_xenstore_does_not_answer(void **state)
{
	struct vhx_xen_names *names;
	struct vhx_error err;
	struct vhx_loop *loop;

	assert_int_equal(vhx_loop_new(0, &loop), 0);
	unsetenv("FAKE_XENSTORE");
	assert_int_equal(names_open(loop, &names, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.text, "dom0"));
	setenv("FAKE_XENSTORE", folder, 1);
	vhx_xen_names_close(NULL);
	vhx_loop_free(loop);
}

/* Another run of this program, to which the library is not shown. */
static void test_library_is_missing(void **state)
{
	struct vhx_xen_names *names;
	struct vhx_error err;
	struct vhx_loop *loop;
	int ret;

	assert_int_equal(vhx_loop_new(0, &loop), 0);
	ret = names_open(loop, &names, &err);
	/* Where Xen's own is installed it is what does not answer. */
	assert_true(ret == -ENOENT || ret == -ECONNREFUSED);
	assert_non_null(strstr(err.text, "names of domains"));
	vhx_loop_free(loop);
}

static int folder_make(void **state)
{
	char path[256];

	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/local", folder);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/local/domain", folder);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/events", folder);
	if (mkfifo(path, 0600))
		return -1;
	events = open(path, O_RDWR | O_CLOEXEC);
	return setenv("FAKE_XENSTORE", folder, 1);
}

static int folder_remove(void **state)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest with[] = {
		cmocka_unit_test(test_names_follow_reboots),
		cmocka_unit_test(test_xenstore_does_not_answer),
	};
	static const struct CMUnitTest without[] = {
		cmocka_unit_test(test_library_is_missing),
	};

	return argc == 1 ? cmocka_run_group_tests(with, folder_make, folder_remove)
			 : cmocka_run_group_tests(without, NULL, NULL);
}
