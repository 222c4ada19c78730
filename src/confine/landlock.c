// SPDX-License-Identifier: BSD-3-Clause
#include "confine/landlock.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By ABI of the kernel; the headers of the build may be older. */
#define FS_ABI_1 ((1ull << 13) - 1)
#define FS_REFER (1ull << 13) /* 2 */
#define FS_TRUNCATE (1ull << 14) /* 3 */
#define FS_IOCTL_DEV (1ull << 15) /* 5 */
#define NET_TCP 3ull /* 4: bind, connect */
#define SCOPE_ALL 3ull /* 6: abstract unix sockets, signals */

struct ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

/* An older kernel takes less of the structure. */
static const struct {
	struct ruleset rules;
	size_t size;
} abis[] = {
	{ { FS_ABI_1, 0, 0 }, sizeof(uint64_t) },
	{ { FS_ABI_1 | FS_REFER, 0, 0 }, sizeof(uint64_t) },
	{ { FS_ABI_1 | FS_REFER | FS_TRUNCATE, 0, 0 }, sizeof(uint64_t) },
	{ { FS_ABI_1 | FS_REFER | FS_TRUNCATE, NET_TCP, 0 }, 2 * sizeof(uint64_t) },
	{ { FS_ABI_1 | FS_REFER | FS_TRUNCATE | FS_IOCTL_DEV, NET_TCP, 0 }, 2 * sizeof(uint64_t) },
	{ { FS_ABI_1 | FS_REFER | FS_TRUNCATE | FS_IOCTL_DEV, NET_TCP, SCOPE_ALL },
	  sizeof(struct ruleset) },
};

static int ruleset_create(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	long fd;
	size_t i;

	if (abi <= 0)
		return -EOPNOTSUPP;
	i = vhx_min_u64((uint64_t)abi, VHX_ARRAY_SIZE(abis)) - 1;
	fd = syscall(SYS_landlock_create_ruleset, &abis[i].rules, abis[i].size, 0);
	return fd < 0 ? -errno : (int)fd;
}

/* The folder of @path; "." for a name alone. */
static int folder_open(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX] = ".";
	size_t len = slash ? (size_t)(slash - path) : 0;
	int fd;

	if (len >= sizeof(folder))
		return -ENAMETOOLONG;
	if (slash) {
		memcpy(folder, path, len + !len);
		folder[len + !len] = '\0';
	}
	fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int remove_allow(int ruleset, const char *path)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = LANDLOCK_ACCESS_FS_REMOVE_FILE,
		.parent_fd = folder_open(path),
	};
	long ret;

	/* A socket that was inherited may lie where we have no way to, and cannot remove it either. */
	if (rule.parent_fd == -ENOENT || rule.parent_fd == -EACCES)
		return 0;
	if (rule.parent_fd < 0)
		return rule.parent_fd;
	ret = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	ret = ret < 0 ? -errno : 0;
	close(rule.parent_fd);
	return (int)ret;
}

int vhx_landlock_enforce(const char *const *removes, unsigned int removes_cnt)
{
	int ruleset = ruleset_create();
	unsigned int i;
	int ret = 0;

	if (ruleset < 0)
		return ruleset;
	for (i = 0; !ret && i < removes_cnt; i++)
		ret = remove_allow(ruleset, removes[i]);
	if (!ret && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		ret = -errno;
	close(ruleset);
	return ret;
}
