// SPDX-License-Identifier: BSD-3-Clause
/* Device and socket specifications: every key, every default, every mistake by its line. */
#include "config/device_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct vhx_device_spec spec;
static struct vhx_error error;

static void test_blk_defaults(void **state)
{
	assert_int_equal(vhx_device_spec_parse("blk,file=/x", &spec, &error), 0);
	assert_string_equal(vhx_device_spec_type(&spec), "blk");
	assert_string_equal(spec.id, "blk");
	assert_string_equal(spec.blk.file, "/x");
	assert_string_equal(spec.blk.serial, "");
	assert_int_equal(spec.blk.fd, -1);
	assert_false(spec.blk.readonly);
	assert_false(spec.blk.direct);
	assert_true(spec.blk.discard);
	assert_int_equal(spec.blk.num_queues, 1);
	assert_int_equal(spec.blk.queue_size, VHX_SPEC_QUEUE_SIZE_MAX);
}

static void test_blk_every_key(void **state)
{
	static const char text[] = "blk,id=disk0,file=/x,readonly,direct=on,serial=S 1,"
				   "num-queues=4,queue-size=64,discard=off";

	assert_int_equal(vhx_device_spec_parse(text, &spec, &error), 0);
	assert_string_equal(spec.id, "disk0");
	assert_true(spec.blk.readonly);
	assert_true(spec.blk.direct);
	assert_false(spec.blk.discard);
	assert_string_equal(spec.blk.serial, "S 1");
	assert_int_equal(spec.blk.num_queues, 4);
	assert_int_equal(spec.blk.queue_size, 64);
}

static void test_peer_is_one_domain(void **state)
{
	static const struct {
		const char *text, *peer;
	} good[] = {
		{ "rng", "" },
		{ "rng,peer=argo:peer=7", "argo:peer=7" },
		{ "blk,file=/x,peer=argo:name:web", "argo:name:web" },
		{ "vsock,uds-path=/x,peer=argo:uuid:3B0A2B1E-6D0C-4C43-9B0E-5A5F0C1D2E3F",
		  "argo:uuid:3b0a2b1e-6d0c-4c43-9b0e-5a5f0c1d2e3f" },
	};
	static const char *const bad[] = {
		"rng,peer=7",	     "rng,peer=argo",
		"rng,peer=argo:any", "rng,peer=argo:peer=70000",
		"rng,peer=unix:/x",  "rng,peer=",
	};

	for (size_t i = 0; i < VHX_ARRAY_SIZE(good); i++) {
		assert_int_equal(vhx_device_spec_parse(good[i].text, &spec, &error), 0);
		assert_string_equal(spec.peer, good[i].peer);
	}
	for (size_t i = 0; i < VHX_ARRAY_SIZE(bad); i++)
		assert_true(vhx_device_spec_parse(bad[i], &spec, &error) < 0);
}

static void test_blk_inherited_descriptor(void **state)
{
	assert_int_equal(vhx_device_spec_parse("blk,fd=0", &spec, &error), 0);
	assert_int_equal(spec.blk.fd, 0);
	assert_string_equal(spec.blk.file, "");
}

static void test_bridge_keys(void **state)
{
	assert_int_equal(vhx_device_spec_parse("vhost-user,type=26,socket=/run/fs.sock,tag=src,"
					       "queues=3,packed=off,id=f0",
					       &spec, &error),
			 0);
	assert_string_equal(vhx_device_spec_type(&spec), "vhost-user");
	assert_string_equal(spec.id, "f0");
	assert_string_equal(spec.bridge.type, "26");
	assert_string_equal(spec.bridge.socket, "/run/fs.sock");
	assert_string_equal(spec.bridge.tag, "src");
	assert_int_equal(spec.bridge.queues, 3);
	assert_false(spec.bridge.packed);
	assert_null(vhx_device_spec_path(&spec, 0));
	assert_int_equal(vhx_device_spec_parse("vhost-user,type=net,socket=/run/ovs.sock,server",
					       &spec, &error),
			 0);
	assert_true(spec.bridge.server);
	assert_string_equal(vhx_device_spec_path(&spec, 0), "/run/ovs.sock");
	assert_null(vhx_device_spec_path(&spec, 1));
	assert_int_equal(vhx_device_spec_parse("vhost-user,type=blk,socket=/x,cache=host", &spec,
					       &error),
			 0);
	assert_string_equal(spec.bridge.cache, "host");
	assert_true(spec.bridge.packed);
	assert_int_equal(spec.bridge.queue_size, VHX_SPEC_QUEUE_SIZE_DEFAULT);
}

static void test_vdpa_keys(void **state)
{
	assert_int_equal(vhx_device_spec_parse("vdpa,path=/dev/vhost-vdpa-0", &spec, &error), 0);
	assert_string_equal(vhx_device_spec_type(&spec), "vdpa");
	assert_string_equal(spec.vdpa.path, "/dev/vhost-vdpa-0");
	assert_int_equal(spec.vdpa.queues, 0);
	assert_int_equal(spec.vdpa.queue_size, VHX_SPEC_QUEUE_SIZE_DEFAULT);
	assert_true(spec.vdpa.packed);
	assert_int_equal(vhx_device_spec_parse("vdpa,path=/x,queues=2,packed=off,queue-size=64",
					       &spec, &error),
			 0);
	assert_int_equal(spec.vdpa.queues, 2);
	assert_int_equal(spec.vdpa.queue_size, 64);
	assert_false(spec.vdpa.packed);
}

static void test_rng_keys(void **state)
{
	assert_int_equal(vhx_device_spec_parse("rng", &spec, &error), 0);
	assert_string_equal(vhx_device_spec_type(&spec), "rng");
	assert_int_equal(spec.rng.max_bytes, 0);
	assert_int_equal(spec.rng.queue_size, VHX_SPEC_QUEUE_SIZE_DEFAULT);
	assert_int_equal(vhx_device_spec_parse("rng,id=r0,max-bytes=1024,period=250,queue-size=8",
					       &spec, &error),
			 0);
	assert_string_equal(spec.id, "r0");
	assert_int_equal(spec.rng.max_bytes, 1024);
	assert_int_equal(spec.rng.period_ms, 250);
	assert_int_equal(spec.rng.queue_size, 8);
}

static void test_console_keys(void **state)
{
	static const char text[] =
		"console,id=c0,port0=pty:/run/c0,port1=socket:/run/a,,b,"
		"name1=org.x,port2=file:/log,cols=132,rows=43,buffer=1000,full=drop";

	assert_int_equal(vhx_device_spec_parse(text, &spec, &error), 0);
	assert_string_equal(spec.id, "c0");
	assert_string_equal(spec.console.ports[0].end, "pty:/run/c0");
	assert_string_equal(spec.console.ports[0].name, "");
	assert_string_equal(spec.console.ports[1].end, "socket:/run/a,b");
	assert_string_equal(spec.console.ports[1].name, "org.x");
	assert_string_equal(spec.console.ports[2].end, "file:/log");
	assert_string_equal(spec.console.ports[3].end, "");
	assert_int_equal(spec.console.cols, 132);
	assert_int_equal(spec.console.rows, 43);
	assert_int_equal(spec.console.buffer, 1000);
	assert_string_equal(spec.console.full, "drop");
}

static void test_net_keys(void **state)
{
	uint8_t mac[VHX_SPEC_MAC_LEN];

	assert_int_equal(vhx_device_spec_parse("net,end=tap:vm0", &spec, &error), 0);
	assert_string_equal(vhx_device_spec_type(&spec), "net");
	assert_string_equal(spec.net.end, "tap:vm0");
	assert_string_equal(spec.net.mac, "");
	assert_int_equal(spec.net.mtu, 0);
	assert_int_equal(spec.net.pairs, 1);
	assert_true(spec.net.offload);
	assert_null(vhx_device_spec_path(&spec, 0));
	assert_int_equal(
		vhx_device_spec_parse("net,id=n0,end=listen:/run/n,mac=52:54:00:aB:Cd:ef,mtu=9000,"
				      "queues=4,offload=off,queue-size=256",
				      &spec, &error),
		0);
	assert_int_equal(vhx_mac_parse(spec.net.mac, mac), 0);
	assert_memory_equal(mac, "\x52\x54\0\xab\xcd\xef", sizeof(mac));
	assert_int_equal(spec.net.mtu, 9000);
	assert_int_equal(spec.net.pairs, 4);
	assert_false(spec.net.offload);
	assert_int_equal(spec.net.queue_size, 256);
	assert_string_equal(vhx_device_spec_path(&spec, 0), "/run/n");
	assert_null(vhx_device_spec_path(&spec, 1));
}

static void test_scsi_keys(void **state)
{
	assert_int_equal(vhx_device_spec_parse("scsi,lun0=/a,,b", &spec, &error), 0);
	assert_string_equal(vhx_device_spec_type(&spec), "scsi");
	assert_string_equal(spec.scsi.luns[0].file, "/a,b");
	assert_false(spec.scsi.luns[0].readonly);
	assert_string_equal(spec.scsi.luns[1].file, "");
	assert_true(spec.scsi.discard);
	assert_int_equal(spec.scsi.num_queues, 1);
	assert_int_equal(vhx_device_spec_parse("scsi,id=s0,lun0=/a,serial0=S 1,lun1=/b,readonly1,"
					       "discard=off,direct,handover,num-queues=62,"
					       "queue-size=128",
					       &spec, &error),
			 0);
	assert_string_equal(spec.scsi.luns[0].serial, "S 1");
	assert_string_equal(spec.scsi.luns[1].file, "/b");
	assert_true(spec.scsi.luns[1].readonly);
	assert_true(spec.scsi.direct);
	assert_true(spec.scsi.handover);
	assert_false(spec.scsi.discard);
	assert_int_equal(spec.scsi.num_queues, 62);
	assert_int_equal(spec.scsi.queue_size, 128);
	assert_null(vhx_device_spec_path(&spec, 0));
}

static void test_vsock_keys(void **state)
{
	assert_int_equal(vhx_device_spec_parse("vsock,uds-path=/run/v", &spec, &error), 0);
	assert_string_equal(vhx_device_spec_type(&spec), "vsock");
	assert_string_equal(spec.vsock.uds_path, "/run/v");
	assert_int_equal(spec.vsock.guest_cid, 0);
	assert_true(spec.vsock.seqpacket);
	assert_int_equal(spec.vsock.queue_size, VHX_SPEC_QUEUE_SIZE_DEFAULT);
	assert_string_equal(vhx_device_spec_path(&spec, 0), "/run/v");
	assert_null(vhx_device_spec_path(&spec, 1));
	assert_int_equal(
		vhx_device_spec_parse("vsock,id=v0,uds-path=/v,guest-cid=4294967294,"
				      "seqpacket=off,connections=3,buffer=8192,queue-size=64",
				      &spec, &error),
		0);
	assert_true(spec.vsock.guest_cid == 4294967294u);
	assert_false(spec.vsock.seqpacket);
	assert_int_equal(spec.vsock.connections, 3);
	assert_int_equal(spec.vsock.buffer, 8192);
	assert_int_equal(spec.vsock.queue_size, 64);
}

/* --help and the parser read one table: every key of every type is there. */
static void test_help_lists_every_type(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	vhx_device_types_help(out);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "\n  blk: a disk\n"));
	assert_non_null(strstr(text, "\n    file=PATH "));
	assert_non_null(strstr(text, "\n    readonly  "));
	assert_non_null(strstr(text, "\n  rng: "));
	assert_non_null(strstr(text, "\n    max-bytes=N "));
	free(text);
}

static void test_doubled_comma_is_one_comma(void **state)
{
	assert_int_equal(vhx_device_spec_parse("blk,file=/a,,b,,,,c,readonly", &spec, &error), 0);
	assert_string_equal(spec.blk.file, "/a,b,,c");
	assert_true(spec.blk.readonly);
}

static void test_value_may_hold_equals(void **state)
{
	assert_int_equal(vhx_device_spec_parse("blk,file=/a=b", &spec, &error), 0);
	assert_string_equal(spec.blk.file, "/a=b");
}

static void test_flag_can_be_switched_off(void **state)
{
	assert_int_equal(vhx_device_spec_parse("blk,file=/a,readonly=off", &spec, &error), 0);
	assert_false(spec.blk.readonly);
}

static const struct fault {
	const char *spec;
	int ret;
	const char *text;
} faults[] = {
	{ "", -EINVAL,
	  "unknown device type ''; known: blk, console, net, rng, scsi, vhost-user, vdpa, vsock" },
	{ "disk,file=/x", -EINVAL,
	  "unknown device type 'disk'; known: blk, console, net, rng, scsi, vhost-user, vdpa, "
	  "vsock" },
	{ "blk=1,file=/x", -EINVAL,
	  "unknown device type 'blk=1'; known: blk, console, net, rng, scsi, vhost-user, vdpa, "
	  "vsock" },
	{ "blk", -EINVAL, "blk: key 'file' is missing" },
	{ "blk,file=/x,fd=3", -EINVAL, "blk: file and fd exclude each other" },
	{ "blk,", -EINVAL, "blk: empty key" },
	{ "blk,file=/x,", -EINVAL, "blk: empty key" },
	{ "blk,=x", -EINVAL, "blk: empty key" },
	{ "blk,file=/x,wibble=1", -EINVAL, "blk: unknown key 'wibble'" },
	{ "blk,file=/x,num-queue=1", -EINVAL,
	  "blk: unknown key 'num-queue'; did you mean 'num-queues'?" },
	{ "blk,file=/x,file=/y", -EINVAL, "blk: key 'file' is given twice" },
	{ "blk,file=/x,readonly,readonly=off", -EINVAL, "blk: key 'readonly' is given twice" },
	{ "blk,file", -EINVAL, "blk: key 'file' needs a value" },
	{ "blk,file=", -EINVAL, "blk: key 'file' needs a value" },
	{ "blk,file=/x,discard", -EINVAL, "blk: key 'discard' needs a value" },
	{ "blk,file=/x,discard=yes", -EINVAL, "blk: discard: 'yes' is neither on nor off" },
	{ "blk,file=/x,readonly=1", -EINVAL, "blk: readonly: '1' is neither on nor off" },
	{ "blk,file=/x,num-queues=four", -EINVAL, "blk: num-queues: 'four' is not a number" },
	{ "blk,file=/x,num-queues=+4", -EINVAL, "blk: num-queues: '+4' is not a number" },
	{ "blk,file=/x,num-queues=0x4", -EINVAL, "blk: num-queues: '0x4' is not a number" },
	{ "blk,file=/x,num-queues=0", -ERANGE, "blk: num-queues: must be at least 1" },
	{ "blk,file=/x,num-queues=65", -ERANGE, "blk: num-queues: must be at most 64" },
	{ "blk,file=/x,num-queues=4294967297", -ERANGE, "blk: num-queues: must be at most 64" },
	{ "blk,file=/x,queue-size=100", -EINVAL, "blk: queue-size: must be a power of two" },
	{ "blk,file=/x,queue-size=2", -ERANGE, "blk: queue-size: must be at least 4" },
	{ "blk,file=/x,queue-size=2048", -ERANGE, "blk: queue-size: must be at most 1024" },
	{ "blk,fd=-1", -EINVAL, "blk: fd: '-1' is not a number" },
	{ "blk,fd=2147483648", -ERANGE, "blk: fd: must be at most 2147483647" },
	{ "blk,file=/x,serial=123456789012345678901", -ENAMETOOLONG,
	  "blk: serial: longer than 20 bytes" },
	{ "blk,file=/x,serial=a\tb", -EINVAL, "blk: serial: 'a?b' is not printable ASCII" },
	{ "console", -EINVAL, "console: key 'port0' is missing" },
	{ "console,port0=pty,port2=pty", -EINVAL, "console: port2 is given, but not port1" },
	{ "console,port0=pty,name1=x", -EINVAL, "console: name1 is given, but not port1" },
	{ "console,port0=pty,name0=a b", -EINVAL,
	  "console: name0: 'a b' is not printable ASCII without blanks and slashes" },
	{ "console,port0=pty,cols=80", -EINVAL, "console: cols and rows belong together" },
	{ "console,port0=pty,full=block", -EINVAL,
	  "console: full: 'block' is neither wait nor drop" },
	{ "console,port0=pty,port16=pty", -EINVAL,
	  "console: unknown key 'port16'; did you mean 'port1'?" },
	{ "net", -EINVAL, "net: key 'end' is missing" },
	{ "net,end=tap:x,mac=52:54:00:12:34", -EINVAL,
	  "net: mac: '52:54:00:12:34' is no address like 52:54:00:12:34:56" },
	{ "net,end=tap:x,mac=00:00:00:00:00:00", -EINVAL,
	  "net: mac: '00:00:00:00:00:00' is no address like 52:54:00:12:34:56" },
	{ "net,end=tap:x,mac=53:54:00:12:34:56", -EINVAL,
	  "net: mac: '53:54:00:12:34:56' is the address of a group, not of an interface" },
	{ "net,end=tap:x,mac=5g:54:00:12:34:56", -EINVAL,
	  "net: mac: '5g:54:00:12:34:56' is no address like 52:54:00:12:34:56" },
	{ "net,end=tap:x,mtu=67", -ERANGE, "net: mtu: must be at least 68" },
	{ "net,end=tap:x,queues=17", -ERANGE, "net: queues: must be at most 16" },
	{ "rng,period=5", -EINVAL, "rng: period without max-bytes limits nothing" },
	{ "rng,max-bytes=0", -ERANGE, "rng: max-bytes: must be at least 1" },
	{ "rng,max-bytes=1,period=86400001", -ERANGE, "rng: period: must be at most 86400000" },
	{ "rng,max-byte=1", -EINVAL, "rng: unknown key 'max-byte'; did you mean 'max-bytes'?" },
	{ "rng,file=/dev/random", -EINVAL, "rng: unknown key 'file'" },
	{ "scsi", -EINVAL, "scsi: key 'lun0' is missing" },
	{ "scsi,lun1=/x", -EINVAL, "scsi: key 'lun0' is missing" },
	{ "scsi,lun0=/x,lun2=/y", -EINVAL, "scsi: lun2 is given, but not lun1" },
	{ "scsi,lun0=/x,readonly1", -EINVAL, "scsi: readonly1 is given, but not lun1" },
	{ "scsi,lun0=/x,serial15=y", -EINVAL, "scsi: serial15 is given, but not lun15" },
	{ "scsi,lun0=/x,lun16=/y", -EINVAL, "scsi: unknown key 'lun16'; did you mean 'lun1'?" },
	{ "scsi,lun0=/x,num-queues=63", -ERANGE, "scsi: num-queues: must be at most 62" },
	{ "scsi,lun0=/x,serial0=0123456789012345678901234567890123456", -ENAMETOOLONG,
	  "scsi: serial0: longer than 36 bytes" },
	{ "scsi,lun0=/x,serial0=a\tb", -EINVAL, "scsi: serial0: 'a?b' is not printable ASCII" },
	{ "vdpa", -EINVAL, "vdpa: key 'path' is missing" },
	{ "vdpa,path=/x,queues=0", -ERANGE, "vdpa: queues: must be at least 1" },
	{ "vhost-user,type=blk", -EINVAL, "vhost-user: key 'socket' is missing" },
	{ "vhost-user,socket=/x", -EINVAL, "vhost-user: key 'type' is missing" },
	{ "vhost-user,type=fs,socket=/x", -EINVAL,
	  "vhost-user: type=fs needs tag=NAME, what guests mount" },
	{ "vhost-user,type=blk,socket=/x,tag=t", -EINVAL, "vhost-user: tag is for type=fs" },
	{ "vhost-user,type=2,socket=/x,mac=52:54:00:12:34:56", -EINVAL,
	  "vhost-user: mac is for type=net" },
	{ "vhost-user,type=blk,socket=/x,mtu=1500", -EINVAL, "vhost-user: mtu is for type=net" },
	{ "vhost-user,type=net,socket=/x,cache=host", -EINVAL,
	  "vhost-user: cache is for type=blk" },
	{ "vhost-user,type=blk,socket=/x,cache=all", -EINVAL,
	  "vhost-user: cache: 'all' is neither host nor own" },
	{ "vhost-user,type=blk,socket=/x,queues=65", -ERANGE,
	  "vhost-user: queues: must be at most 64" },
	{ "vsock", -EINVAL, "vsock: key 'uds-path' is missing" },
	{ "vsock,uds-path=/v,guest-cid=2", -ERANGE, "vsock: guest-cid: must be at least 3" },
	{ "vsock,uds-path=/v,guest-cid=4294967295", -ERANGE,
	  "vsock: guest-cid: must be at most 4294967294" },
	{ "vsock,uds-path=/v,connections=1025", -ERANGE,
	  "vsock: connections: must be at most 1024" },
	{ "vsock,uds-path=/v,cid=3", -EINVAL, "vsock: unknown key 'cid'; did you mean 'id'?" },
	{ "blk,file=/x,id=a/b", -EINVAL,
	  "blk: id: 'a/b' may have letters, digits and, after the first, any of -_." },
	{ "blk,file=/x,id=-a", -EINVAL,
	  "blk: id: '-a' may have letters, digits and, after the first, any of -_." },
};

static void test_every_fault_has_its_line(void **state)
{
	size_t i;

	for (i = 0; i < VHX_ARRAY_SIZE(faults); i++) {
		error.text[0] = '\0';
		assert_int_equal(vhx_device_spec_parse(faults[i].spec, &spec, &error),
				 faults[i].ret);
		assert_string_equal(error.text, faults[i].text);
	}
}

/* "<head><len letters>", to be freed. */
static char *long_text(const char *head, size_t len)
{
	char *text = malloc(strlen(head) + len + 1);

	assert_non_null(text);
	strcpy(text, head);
	memset(text + strlen(head), 'x', len);
	text[strlen(head) + len] = '\0';
	return text;
}

static int parse_long(const char *head, size_t len)
{
	char *text = long_text(head, len);
	int ret = vhx_device_spec_parse(text, &spec, &error);

	free(text);
	return ret;
}

static void test_lengths_at_their_limit(void **state)
{
	assert_int_equal(parse_long("blk,file=/x,id=", VHX_SPEC_ID_MAX - 1), 0);
	assert_int_equal(parse_long("blk,file=/x,id=", VHX_SPEC_ID_MAX), -ENAMETOOLONG);
	assert_string_equal(error.text, "blk: id: longer than 63 bytes");
	assert_int_equal(parse_long("blk,file=", VHX_VALUE_MAX - 6), 0);
	assert_int_equal(parse_long("blk,file=", VHX_VALUE_MAX - 5), -ENAMETOOLONG);
	assert_string_equal(error.text, "blk: a value is longer than 4095 bytes");
	assert_int_equal(parse_long("", 1 << 20), -ENAMETOOLONG);
}

static void test_two_devices_of_one_id(void **state)
{
	struct vhx_device_spec *specs = calloc(3, sizeof(*specs));

	assert_non_null(specs);
	strcpy(specs[0].id, "disk0");
	strcpy(specs[1].id, "disk1");
	strcpy(specs[2].id, "disk0");
	assert_int_equal(vhx_device_specs_check(specs, 2, &error), 0);
	assert_int_equal(vhx_device_specs_check(specs, 3, &error), -EEXIST);
	assert_string_equal(error.text, "two devices have the id 'disk0'");
	free(specs);
}

static void test_vhost_user_spec(void **state)
{
	struct vhx_vhost_user_spec v;

	assert_int_equal(vhx_vhost_user_spec_parse("/run/a,,b.sock,id=disk0", &v, &error), 0);
	assert_string_equal(v.path, "/run/a,b.sock");
	assert_string_equal(v.id, "disk0");
	assert_int_equal(vhx_vhost_user_spec_parse("a", &v, &error), 0);
	assert_string_equal(v.id, "");
	assert_int_equal(vhx_vhost_user_spec_parse("", &v, &error), -EINVAL);
	assert_int_equal(vhx_vhost_user_spec_parse(",id=disk0", &v, &error), -EINVAL);
	assert_string_equal(error.text, "the path of the socket is missing");
	assert_int_equal(vhx_vhost_user_spec_parse("/s,file=/x", &v, &error), -EINVAL);
	assert_string_equal(error.text, "unknown key 'file'");
}

static void test_vhost_user_path_too_long(void **state)
{
	struct vhx_vhost_user_spec v;
	char *fits = long_text("/", 106), *over = long_text("/", 107);

	assert_int_equal(vhx_vhost_user_spec_parse(fits, &v, &error), 0);
	assert_int_equal(vhx_vhost_user_spec_parse(over, &v, &error), -ENAMETOOLONG);
	assert_string_equal(error.text, "the path of a socket is at most 107 bytes long, not 108");
	free(fits);
	free(over);
}

static void test_address(void **state)
{
	struct vhx_address a;
	char *over = long_text("unix:/", 107);

	assert_int_equal(vhx_address_parse("unix:/run/a,b", &a, &error), 0);
	assert_string_equal(a.path, "/run/a,b");
	assert_int_equal(vhx_address_parse("/run/a", &a, &error), -EINVAL);
	assert_string_equal(error.text, "'/run/a' is not an address; it looks like unix:PATH");
	assert_int_equal(vhx_address_parse("tcp:1.2.3.4", &a, &error), -EINVAL);
	assert_int_equal(vhx_address_parse("unix", &a, &error), -EINVAL);
	assert_int_equal(vhx_address_parse("", &a, &error), -EINVAL);
	assert_int_equal(vhx_address_parse("unix:", &a, &error), -EINVAL);
	assert_string_equal(error.text, "'unix:' lacks the path");
	assert_int_equal(vhx_address_parse(over, &a, &error), -ENAMETOOLONG);
	free(over);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blk_defaults),
		cmocka_unit_test(test_blk_every_key),
		cmocka_unit_test(test_peer_is_one_domain),
		cmocka_unit_test(test_blk_inherited_descriptor),
		cmocka_unit_test(test_rng_keys),
		cmocka_unit_test(test_vdpa_keys),
		cmocka_unit_test(test_bridge_keys),
		cmocka_unit_test(test_console_keys),
		cmocka_unit_test(test_net_keys),
		cmocka_unit_test(test_scsi_keys),
		cmocka_unit_test(test_vsock_keys),
		cmocka_unit_test(test_help_lists_every_type),
		cmocka_unit_test(test_doubled_comma_is_one_comma),
		cmocka_unit_test(test_value_may_hold_equals),
		cmocka_unit_test(test_flag_can_be_switched_off),
		cmocka_unit_test(test_every_fault_has_its_line),
		cmocka_unit_test(test_lengths_at_their_limit),
		cmocka_unit_test(test_two_devices_of_one_id),
		cmocka_unit_test(test_vhost_user_spec),
		cmocka_unit_test(test_vhost_user_path_too_long),
		cmocka_unit_test(test_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
