// SPDX-License-Identifier: BSD-3-Clause
/*
 * hmx-faults [SCENARIO]: what faults that a reading of the guest driver found look like from both sides, one scenario each,
 * named for the fault. Runs as root inside a guest with virtio_hmx, hmx_test and hmx_probe. The backend is ours and
 * keeps to the protocol, but dies, holds requests, takes devices away and comes back as it likes (faults.h); hmx_probe
 * asks whatever a driver may ask, and more. Exits with 0 if all of them end as they should; the kernel's log is for the caller.
 */
#include <vhx/hmx_test.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "faults.h"

/* Entries of all rings of a channel: the driver's HMX_ENTRIES_MAX. */
#define ENTRIES_MAX 65536ul

/* Scenarios */

#define BIG 99u

static struct dumb *devices[128];

static const struct {
	uint32_t type;
	uint8_t queues;
} kinds[] = { { 8, 3 }, { 9, 1 }, { 20, 2 }, { 25, 4 }, { 34, 1 }, { 36, 3 }, { 41, 2 } };

/*
 * Requests that the backend took with it: what drivers see of them is an error of their type. Commands of scsi are not
 * among them, since they are sent again.
 */
static const struct {
	unsigned int round;
	uint32_t type;
	const char *ask, *want;
} lost[] = {
	{ 0, 9, "0 64 64 0",
	  "used=11 in=0b000000073412"
	  "05000000a5" },
	{ 0, 20, "0 64 65 0", "last=a5a5a5a5a5a5a5a5a5a5a5a5a5a5a501" },
	{ 0, 25, "0 64 36 0", "used=4 in=03800000a5" },
	{ 0, 34, "0 64 5 0", "used=0 in=a5a5a5a501" },
	{ 0, 36, "0 64 1 0", "in=01" },
	{ 0, 41, "0 64 2 0", "used=1 in=01a5" },
	{ 1, 8, "0 64 5 0", "in=a5a5a5a509" },
	{ 1, 20, "1 64 16 0", "in=a5a5a5a5a5a5a5a501000000a5a5a5a5" },
	{ 1, 25, "2 64 8 0", "in=0380000000000000" },
	{ 1, 41, "1 64 1 0", "used=1 in=00" },
};

static void lost_round(unsigned int round)
{
	struct ask asks[VHX_ARRAY_SIZE(lost)];
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(lost); i++) {
		if (lost[i].round != round)
			continue;
		running_wait(lost[i].type);
		probe_begin(&asks[i], lost[i].type, "ask", lost[i].ask);
		held_wait(devices[lost[i].type]);
	}
	life_end();
	for (i = 0; i < VHX_ARRAY_SIZE(lost); i++) {
		if (lost[i].round != round)
			continue;
		ask_end(&asks[i]);
		expect("a lost request", lost[i].type, lost[i].want);
	}
	life_begin(LIST_WELL);
}

/* An answer of which nothing came: no byte of what lay in the buffer before. */
static void short_answers(void)
{
	static const uint32_t types[] = { 8, 9, 20, 25, 36, 41 };
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		running_wait(types[i]);
		probe_do(types[i], "ask", "0 64 32 1");
		expect("a short answer", types[i],
		       "used=0 in=00000000000000000000000000000000 "
		       "last=00000000000000000000000000000000");
	}
	/* A driver that looks at the status only is told that it failed. */
	running_wait(34);
	probe_do(34, "ask", "0 64 4 1");
	expect("an answer without a status", 34, "used=0 in=a5a5a501");
	said("what did not come is not shown");
}

static void long_chain(void)
{
	running_wait(8);
	if (probe_do(8, "ask", "2 64 6000 2 1500"))
		die("a chain of 1501 descriptors was not taken");
	expect("a chain that is too long", 8, "completed used=12 in=000000000000000000000006a5");
	probe_do(8, "ask", "2 64 16 2 8");
	expect("after a chain that is too long", 8, "completed used=16 in=1111");
	said("a chain that is too long ends with an error");
}

/*
 * A function for task management, and a command that was made available before it: the driver has told the device of the
 * function only when the queues are looked at.
 */
static void overtaken_command(void)
{
	static const char *const pairs[] = { "1 2", "2 2" };
	size_t i;

	running_wait(8);
	for (i = 0; i < VHX_ARRAY_SIZE(pairs); i++) {
		if (probe_do(8, "behind", pairs[i]))
			die("a function behind a command was not taken");
		if (devices[8]->last_queues[0] || devices[8]->last_queues[1] != i + 1)
			die("a function overtook a command: queue %u, then %u",
			    devices[8]->last_queues[1], devices[8]->last_queues[0]);
	}
	said("a function does not overtake a command");
}

/* Under its name, with another number or the same one, before anybody could list what there is. */
static void removed_and_added(void)
{
	unsigned long before = lives();
	struct ask a;
	int i;

	for (i = 0; i < 3; i++) {
		running_wait(34);
		probe_begin(&a, 34, "ask", "0 64 5 0");
		held_wait(devices[34]);
		vhx_backend_remove_device(backend, "d34");
		/* The old one is closed by now, or soon: nothing of it is under way but what is held. */
		devices[34] = device_add(34, 1, 64, 64);
		ask_end(&a);
		/* The old one is not running any more. */
		running_wait(34);
		probe_do(34, "ask", "0 64 5 2");
		expect("after its return", 34, "completed used=5 in=1111111111");
	}
	if (lives() != before)
		die("the removal of one device ended the channel");
	said("a device that is removed and added again");
}

/* Posted buffers that would come again at once, on a device that has failed. */
static void posted_on_a_failed_device(void)
{
	int i;

	running_wait(41);
	for (i = 0; i < 4; i++)
		probe_do(41, "post", "1 16");
	life_end();
	devices[41]->refuses = true;
	life_begin(LIST_WELL);
	while (!state_is(41, "failed"))
		loop_step();
	probe_do(41, "ask", "0 64 2 2");
	expect("on a failed device", 41, "used=1 in=01a5");
	if (posts(41))
		die("a failed device gave %lu posted buffers back", posts(41));
	said("posted buffers of a failed device stay where they are");
}

/* The end of a group may die with its backend: none of it was ever seen, and all of it is asked again. */
static void half_a_group(void)
{
	static const char file[] = DEBUG "virtio_hmx/hmx0/devices/d36";
	unsigned long bytes, before;
	int i;

	running_wait(36);
	before = posts(36);
	for (i = 0; i < 4; i++)
		probe_do(36, "post", "1 16");
	posted_wait(devices[36], 4);
	bytes = value(file, "queue1_bytes_in");
	posted_answer(devices[36], true);
	posted_answer(devices[36], true);
	while (value(file, "queue1_bytes_in") < bytes + 32)
		loop_step();
	life_end();
	life_begin(LIST_WELL);
	posted_wait(devices[36], 4);
	if (posts(36) != before)
		die("half a group: the driver saw %lu buffers of it", posts(36) - before);
	for (i = 0; i < 3; i++)
		posted_answer(devices[36], i < 2);
	while (posts(36) != before + 3)
		loop_step();
	/* The driver has posted them again. */
	posted_wait(devices[36], 4);
	said("half a group of completions is never seen");
}

static void queue_reset_under_load(void)
{
	/* Never what it is: that would be no reset. */
	static const char *const sizes[] = { "0 16", "0 32", "0 64" };
	struct ask a;
	int i;

	running_wait(25);
	for (i = 0; i < 12; i++) {
		probe_begin(&a, 25, "ask", "0 64 32 0");
		held_wait(devices[25]);
		if (probe_do(25, "resize", sizes[i % 3]))
			die("queue reset %d", i);
		ask_end(&a);
		expect("a queue reset", 25, "recycled");
		probe_do(25, "ask", "0 64 32 2");
		expect("after a queue reset", 25, "completed used=32 in=1111");
	}
	if (value(DEBUG "virtio_hmx/hmx0/devices/d25", "queue0_size") != 64)
		die("the last size of the queue is not what is in use");
	said("queue reset with requests in flight");
}

static unsigned long entries_sum(void)
{
	char path[300], key[32];
	unsigned long sum = 0;
	struct dirent *e;
	DIR *d = opendir(DEBUG "virtio_hmx/hmx0/devices");
	unsigned int i;

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), DEBUG "virtio_hmx/hmx0/devices/%s", e->d_name);
		for (i = 0; e->d_name[0] != '.' && i < 64; i++) {
			snprintf(key, sizeof(key), "queue%u_size", i);
			sum += value(path, key);
		}
	}
	if (d)
		closedir(d);
	return sum;
}

static void greedy_device(void)
{
	char name[NAME_MAX_];

	device_add(BIG, 64, 1024, 64);
	device_add(18, 64, 1024, 64);
	while (!probe_find(BIG, name) && !probe_find(18, name))
		loop_step();
	if (entries_sum() > ENTRIES_MAX || entries_sum() < ENTRIES_MAX / 2)
		die("%lu entries", entries_sum());
	vhx_backend_remove_device(backend, "d18");
	vhx_backend_remove_device(backend, "d99");
	while (probe_find(BIG, name) || probe_find(18, name))
		loop_step();
	running_wait(8);
	said("a backend with more queues than anybody needs");
}

/* A freeze and an unbind, with a request that nobody will answer. */
static void without_a_backend(void)
{
	static const char file[] = DEBUG "virtio_hmx/hmx0/devices/d36";
	char name[NAME_MAX_];
	struct ask a, unbind;
	unsigned long notifies;

	running_wait(36);
	probe_find(36, name);
	life_end();
	while (state_is(36, "running"))
		loop_step();
	notifies = value(file, "queue0_notifies");
	probe_begin(&a, 36, "ask", "0 64 1 2");
	while (value(file, "queue0_notifies") == notifies)
		loop_step();
	if (seat_do_alone(HMX_TEST_FREEZE) != EBUSY)
		die("a freeze without a backend");
	file_begin(&unbind, "/sys/bus/virtio/drivers/hmx_probe/unbind", name);
	ask_end(&a);
	if (ask_end(&unbind))
		die("unbind: %s", strerror(unbind.result));
	life_begin(LIST_WELL);
	file_begin(&unbind, "/sys/bus/virtio/drivers/hmx_probe/bind", name);
	if (ask_end(&unbind))
		die("bind: %s", strerror(unbind.result));
	running_wait(36);
	probe_do(36, "ask", "0 64 1 2");
	expect("after a new bind", 36, "completed used=1 in=11");
	said("freeze and unbind without a backend");
}

/* Under its number in the driver: enough for as many devices as there may be. */
#define LIST_ASKS 256u

static void endless_list(void)
{
	unsigned long before = lives();

	running_wait(8);
	life_end();
	life_begin(LIST_ENDLESS);
	while (vhx_backend_channel_count(backend))
		loop_step();
	if (lives() != before + 1 || listed() != LIST_ASKS)
		die("an endless list: %u questions in %lu lives", listed(), lives() - before);
	life_end();
	life_begin(LIST_WELL);
	running_wait(8);
	said("a backend with an endless list of devices is cut off");
}

static void freeze_while_listing(void)
{
	unsigned long timeouts = logged("the backend does not answer");

	running_wait(8);
	life_end();
	life_begin(LIST_SILENT);
	while (!listed())
		loop_step();
	if (seat_do(HMX_TEST_FREEZE))
		die("no freeze while the devices are listed");
	life_end();
	life_begin(LIST_WELL);
	if (seat_do(HMX_TEST_RESTORE))
		die("no restore");
	running_wait(8);
	if (logged("the backend does not answer") != timeouts)
		die("a freeze waited for the listing");
	probe_do(8, "ask", "2 64 16 2");
	expect("after a sleep", 8, "completed used=16 in=1111");
	said("a freeze ends a listing");
}

/* A driver that asks in its probe, and a backend that is well but for this answer, which never comes. */
static void probing_device(void)
{
	running_wait(8);
	devices[BIG] = device_add(BIG, 1, 64, 64);
	devices[BIG]->dev.config[1] = 1;
	held_wait(devices[BIG]);
}

static void freeze_while_a_driver_probes(void)
{
	char name[NAME_MAX_];

	probing_device();
	if (seat_do(HMX_TEST_FREEZE) != EBUSY)
		die("a freeze while a driver waits for its device");
	probe_do(8, "ask", "2 64 16 2");
	expect("after a freeze that failed", 8, "completed used=16 in=1111");
	vhx_backend_remove_device(backend, "d99");
	while (probe_find(BIG, name))
		loop_step();
	said("a freeze does not wait for a probe that waits for ever");
}

/* The same, and all of the exchange is removed. */
static void removal_while_a_driver_probes(void)
{
	probing_device();
	if (seat_do(HMX_TEST_LEAVE))
		die("the exchange can't be removed");
	life_end();
	seat_leave();
	vhx_backend_remove_device(backend, "d99");
	seat_take();
	life_begin(LIST_WELL);
	running_wait(8);
	probe_do(8, "ask", "2 64 16 2");
	expect("with another exchange", 8, "completed used=16 in=1111");
	said("a removal does not wait for a probe that waits for ever");
}

/* Of types that nobody drives: all of a backend's devices come and go, and the log is not only about them. */
#define NOBODYS 200u
#define NOBODYS_CNT 50u
#define NOBODYS_ROUNDS 12u
/* Under its names in the driver: lines in a time. */
#define LINES_MAX 128u
#define LINES_S 10

static bool nobodys_there(bool all)
{
	unsigned int i, cnt = 0;

	for (i = 0; i < NOBODYS_CNT; i++)
		cnt += state_is(NOBODYS + i, "attached");
	return all ? cnt == NOBODYS_CNT : cnt;
}

static unsigned long nobodys_lines(void)
{
	return logged("unknown device, 1 queue(s)") + logged("the backend has it no more");
}

static void devices_that_come_and_go(void)
{
	unsigned long before = nobodys_lines(), lines;
	unsigned int i, round;
	time_t began = time(NULL);
	char name[16];

	for (round = 0; round < NOBODYS_ROUNDS; round++) {
		for (i = 0; i < NOBODYS_CNT; i++)
			device_add(NOBODYS + i, 1, 16, 64);
		while (!nobodys_there(true))
			loop_step();
		for (i = 0; i < NOBODYS_CNT; i++) {
			snprintf(name, sizeof(name), "d%u", NOBODYS + i);
			vhx_backend_remove_device(backend, name);
		}
		while (nobodys_there(false))
			loop_step();
	}
	lines = nobodys_lines() - before;
	if (lines > LINES_MAX * (unsigned long)((time(NULL) - began) / LINES_S + 2))
		die("%lu lines about devices in %ld s", lines, (long)(time(NULL) - began));
	said("devices that come and go do not fill the log");
}

/* Devices that are busy for a while, each asked for again at its own times. */
static void busy_devices(void)
{
	static const uint32_t types[] = { 34, 8, 9 };
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		running_wait(types[i]);
		devices[types[i]]->lingers = true;
	}
	life_end();
	life_begin(LIST_WELL);
	running_wait(20);
	for (i = 0; i < VHX_ARRAY_SIZE(types); i++) {
		if (!devices[types[i]]->pending_cnt || state_is(types[i], "running"))
			die("type %u runs while its last user is not through", types[i]);
		linger_end(devices[types[i]]);
		running_wait(types[i]);
	}
	said("devices that were busy are asked for again");
}

/*
 * The driver's allocation of a device fails: it asks for the device again later. Which allocations may fail, those of
 * its size, was said on the kernel's command line (umlk_faults.sh).
 */
static void device_without_memory(void)
{
	static const char *const settings[][2] = {
		{ "failslab/cache-filter", "1" }, { "failslab/ignore-gfp-wait", "0" },
		{ "failslab/verbose", "0" },	  { "failslab/interval", "1" },
		{ "failslab/times", "2" },	  { "failslab/probability", "100" },
	};
	char path[128], name[NAME_MAX_];
	unsigned long left = 1;
	size_t i;
	FILE *f;

	if (access(DEBUG "failslab", F_OK)) {
		said("no memory for a device: not tried, the kernel has no failslab");
		return;
	}
	for (i = 0; i < VHX_ARRAY_SIZE(settings); i++) {
		snprintf(path, sizeof(path), DEBUG "%s", settings[i][0]);
		if (file_do(path, settings[i][1]))
			die("%s", path);
	}
	device_add(BIG, 1, 64, 64);
	while (left) {
		loop_step();
		f = fopen(DEBUG "failslab/times", "r");
		if (!f || fscanf(f, "%lu", &left) != 1)
			die("failslab");
		fclose(f);
		if (left && probe_find(BIG, name))
			die("no allocation has failed");
	}
	if (file_do(DEBUG "failslab/probability", "0"))
		die("failslab");
	running_wait(BIG);
	vhx_backend_remove_device(backend, "d99");
	while (probe_find(BIG, name))
		loop_step();
	said("a device for which there was no memory is asked for again");
}

/* A driver that breaks its ring is told so, and what it waits for ends. */
static void broken_ring(void)
{
	struct ask a;

	running_wait(25);
	probe_begin(&a, 25, "ask", "0 64 36 0");
	held_wait(devices[25]);
	if (probe_do(25, "break", "0"))
		die("the ring can't be broken");
	ask_end(&a);
	expect("on a broken ring", 25, "completed used=4 in=03800000a5");
	if (logged("a chain that does not exist") != 1)
		die("nobody said what is broken");
	running_wait(8);
	probe_do(8, "ask", "2 64 16 2");
	expect("beside a broken ring", 8, "completed used=16 in=1111");
	said("a driver that breaks its ring gets what was in flight");
}

/* How the driver leaves the backend for another one, which has lost what was not flushed. */

static void over_death(const char *name)
{
	life_end();
	devices[2]->dev.cache_id[0]++;
	life_begin(LIST_WELL);
}

static void over_rebind(const char *name)
{
	if (file_do("/sys/bus/virtio/drivers/hmx_probe/unbind", name))
		die("unbind");
	over_death(name);
	if (file_do("/sys/bus/virtio/drivers/hmx_probe/bind", name))
		die("bind");
}

static void over_sleep(const char *name)
{
	if (seat_do(HMX_TEST_FREEZE))
		die("freeze");
	over_death(name);
	if (seat_do(HMX_TEST_RESTORE))
		die("restore");
}

/* W: a write, F: a flush, 0, 1: the cache is switched. */
static const struct {
	const char *what, *steps;
	void (*over)(const char *name);
	bool lost;
} durability[] = {
	{ "unflushed writes, over a rebind", "W", over_rebind, true },
	{ "flushed writes, over a rebind", "WF", over_rebind, false },
	{ "unflushed writes, over a sleep", "WFW", over_sleep, true },
	{ "flushed writes, over a sleep", "WF", over_sleep, false },
	{ "unflushed writes, over a death", "W", over_death, true },
	{ "writes without a cache", "0W", over_death, false },
	{ "writes before the cache was off", "W0", over_death, true },
	{ "writes after the cache was on again", "0W1W", over_death, true },
};

static void disk_step(char step)
{
	if (step == 'W' || step == 'F') {
		probe_do(2, "ask", step == 'W' ? "0 16 1 1" : "0 16 1 4");
		expect("a disk", 2, "completed used=1 in=00");
		return;
	}
	if (probe_do(2, "config", step == '1' ? "32 1" : "32 0"))
		die("the cache can't be switched");
}

static void disk_leave(void)
{
	char name[NAME_MAX_];

	vhx_backend_remove_device(backend, "d2");
	while (probe_find(2, name))
		loop_step();
}

/* Each with a new disk, since a loss is for good. */
static void durable_or_not(void)
{
	const char *s;
	char name[NAME_MAX_];
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(durability); i++) {
		devices[2] = disk_add();
		running_wait(2);
		probe_find(2, name);
		for (s = durability[i].steps; *s; s++)
			disk_step(*s);
		durability[i].over(name);
		while (!state_is(2, durability[i].lost ? "failed" : "running"))
			loop_step();
		probe_do(2, "ask", "0 16 1 0");
		expect(durability[i].what, 2, durability[i].lost ? "used=0 in=01" : "used=1 in=00");
		disk_leave();
	}
	said("a loss is judged over death, sleep and rebind, and by how writes were cached");
}

/* A new disk, whose driver writes to the config when there is no backend. */
static void disk_write_alone(char *name)
{
	devices[2] = disk_add();
	running_wait(2);
	probe_find(2, name);
	life_end();
	while (state_is(2, "running"))
		loop_step();
	if (probe_do(2, "config", "32 0"))
		die("a write of the config without a backend");
}

/* What a driver asked for when there was no backend is over with that driver. */
static void write_of_the_last_driver(void)
{
	char name[NAME_MAX_];

	disk_write_alone(name);
	if (file_do("/sys/bus/virtio/drivers/hmx_probe/unbind", name))
		die("unbind");
	life_begin(LIST_WELL);
	if (file_do("/sys/bus/virtio/drivers/hmx_probe/bind", name))
		die("bind");
	running_wait(2);
	if (devices[2]->config_writes)
		die("the next driver's device was written to");
	disk_step('0');
	if (devices[2]->config_writes != 1)
		die("%u writes of the config, not 1", devices[2]->config_writes);
	disk_leave();
	said("what the last driver wrote is not sent after its reset");
}

/* The same of a write that its driver left behind on its way: the backend has it, and dies without an answer. */
static void write_that_is_left_behind(void)
{
	char name[NAME_MAX_];
	struct ask unbind;

	disk_write_alone(name);
	life_begin(LIST_UNWRITTEN);
	while (!devices[2]->config_writes)
		loop_step();
	file_begin(&unbind, "/sys/bus/virtio/drivers/hmx_probe/unbind", name);
	while (!state_is(2, "attached"))
		loop_step();
	life_end();
	if (ask_end(&unbind))
		die("unbind: %s", strerror(unbind.result));
	devices[2]->config_writes = 0;
	life_begin(LIST_WELL);
	if (file_do("/sys/bus/virtio/drivers/hmx_probe/bind", name))
		die("bind");
	running_wait(2);
	if (devices[2]->config_writes)
		die("the next driver's device was written to by the last one");
	disk_leave();
	said("a write that its driver left behind dies with its backend");
}

/* And answered after all: what was written is not kept for the backends to come. */
static void write_that_is_answered_late(void)
{
	char name[NAME_MAX_];
	struct ask unbind;

	disk_write_alone(name);
	/* Its answer waits for the driver to leave. */
	devices[2]->leaving = &unbind;
	snprintf(devices[2]->leaver, sizeof(devices[2]->leaver), "%s", name);
	life_begin(LIST_WELL);
	while (!devices[2]->config_writes)
		loop_step();
	if (ask_end(&unbind))
		die("unbind: %s", strerror(unbind.result));
	if (file_do("/sys/bus/virtio/drivers/hmx_probe/bind", name))
		die("bind");
	running_wait(2);
	over_death(name);
	running_wait(2);
	if (devices[2]->config_writes != 1)
		die("%u writes of the config, not 1", devices[2]->config_writes);
	disk_leave();
	said("a write that is answered after its driver left is not kept");
}

/* What the commands of a network have set, and the next backend. */

static const char net_file[] = DEBUG "virtio_hmx/hmx0/devices/d1";

static void net_command(const char *command, const char *want)
{
	if (probe_do(1, "ask", command))
		die("a command");
	expect("a command", 1, want);
}

static void net_over_death(enum listing listing)
{
	life_end();
	memset(devices[1]->seen, 0, sizeof(devices[1]->seen));
	devices[1]->seen_cnt = 0;
	life_begin(listing);
}

/* A receive mode twice, an address table, pairs, and an announcement, which sets nothing. */
static void net_set(void)
{
	running_wait(1);
	probe_do(1, "post", "0 64");
	net_command("2 64 1 4", "used=1 in=00");
	net_command("2 2 1 0", "used=1 in=00");
	net_command("2 700 1 1", "used=1 in=00");
	net_command("2 2 1 3", "used=1 in=00");
	net_command("2 64 1 4", "used=1 in=00");
}

static void commands_of_a_network(void)
{
	char name[NAME_MAX_];

	devices[1] = net_add();
	net_set();
	seen_expect(devices[1], "p40134");
	net_over_death(LIST_WELL);
	/* Each once, in the order in which they were last done, and no buffer before. */
	seen_expect(devices[1], "014p");
	running_wait(1);
	net_command("2 2 1 5", "used=1 in=00");
	seen_expect(devices[1], "5");
	net_over_death(LIST_WELL);
	seen_expect(devices[1], "0145p");
	if (value(net_file, "commands_kept") != 4)
		die("%lu commands are kept", value(net_file, "commands_kept"));
	/* What a backend refuses is passed over; what a driver is refused is not kept. */
	devices[1]->refused = 1;
	net_over_death(LIST_WELL);
	seen_expect(devices[1], "0145p");
	running_wait(1);
	net_command("2 2 1 1", "used=1 in=01");
	if (logged("refuses what another one has done") != 1)
		die("nobody said that a command was refused");
	/* The next driver's device has nothing set. */
	probe_find(1, name);
	if (file_do("/sys/bus/virtio/drivers/hmx_probe/unbind", name) ||
	    file_do("/sys/bus/virtio/drivers/hmx_probe/bind", name))
		die("unbind and bind");
	running_wait(1);
	probe_do(1, "post", "0 64");
	net_over_death(LIST_WELL);
	seen_expect(devices[1], "p");
	vhx_backend_remove_device(backend, "d1");
	while (probe_find(1, name))
		loop_step();
	said("a new backend is told of commands before anything else");
}

/* Backends that lie about a command, or do not answer it: the third one is the last that is told. */
static void commands_that_kill(void)
{
	unsigned long timeouts = logged("the backend does not answer");
	unsigned long told;
	char name[NAME_MAX_];

	devices[1] = net_add();
	net_set();
	told = value(net_file, "commands_told");
	net_over_death(LIST_LYING);
	while (value(net_file, "commands_told") < told + 1 || vhx_backend_channel_count(backend))
		loop_step();
	net_over_death(LIST_LYING);
	while (value(net_file, "commands_told") < told + 2 || vhx_backend_channel_count(backend))
		loop_step();
	devices[1]->silent = true;
	net_over_death(LIST_WELL);
	while (vhx_backend_channel_count(backend))
		loop_step();
	if (logged("the backend does not answer") != timeouts + 1)
		die("a command that is not answered ends no channel");
	devices[1]->silent = false;
	net_over_death(LIST_WELL);
	seen_expect(devices[1], "p");
	running_wait(1);
	if (value(net_file, "commands_told") != told + 3 || value(net_file, "commands_kept"))
		die("backends go on dying of commands");
	net_command("2 2 1 0", "used=1 in=00");
	vhx_backend_remove_device(backend, "d1");
	while (probe_find(1, name))
		loop_step();
	said("a command that kills is told three times at most");
}

/* For the caller, who unloads the modules: somebody holds the device, and its channel. */
static void held_device(void)
{
	running_wait(8);
	if (probe_do(8, "hold", "1"))
		die("the device can't be held");
}

static void lost_requests(void)
{
	lost_round(0);
	lost_round(1);
	said("lost requests end with the error of their type");
}

static const struct {
	const char *name;
	void (*run)(void);
} scenarios[] = {
	{ "lost", lost_requests },
	{ "short", short_answers },
	{ "overtaken", overtaken_command },
	{ "long", long_chain },
	{ "reset", queue_reset_under_load },
	{ "group", half_a_group },
	{ "removed", removed_and_added },
	{ "alone", without_a_backend },
	{ "greedy", greedy_device },
	{ "endless", endless_list },
	{ "listing", freeze_while_listing },
	{ "probing", freeze_while_a_driver_probes },
	{ "busy", busy_devices },
	{ "memory", device_without_memory },
	{ "durable", durable_or_not },
	{ "written", write_of_the_last_driver },
	{ "left", write_that_is_left_behind },
	{ "late", write_that_is_answered_late },
	{ "commands", commands_of_a_network },
	{ "deadly", commands_that_kill },
	{ "broken", broken_ring },
	{ "posted", posted_on_a_failed_device },
	{ "flood", devices_that_come_and_go },
	{ "leaving", removal_while_a_driver_probes },
	{ "held", held_device },
};

int main(int argc, char **argv)
{
	struct vhx_backend_config cfg = { .staging = 2 * WINDOW_SIZE };
	size_t i;

	if (vhx_loop_new(0, &loop))
		die("loop");
	cfg.loop = loop;
	if (vhx_backend_new(&cfg, &backend))
		die("backend");
	for (i = 0; i < VHX_ARRAY_SIZE(kinds); i++)
		devices[kinds[i].type] = device_add(kinds[i].type, kinds[i].queues, 64, 64);
	seat_take();
	life_begin(LIST_WELL);
	for (i = 0; i < VHX_ARRAY_SIZE(scenarios); i++) {
		if (argc < 2 || !strcmp(argv[1], scenarios[i].name))
			scenarios[i].run();
	}
	life_end();
	seat_leave();
	printf("hmx-faults: sound\n");
	return 0;
}
