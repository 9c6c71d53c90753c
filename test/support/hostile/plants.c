/* What the harness needs before the attacks, and cannot do without C. None of these is an attack. */
#include "hostile.h"
#include <linux/capability.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/xattr.h>

/* Shared memory and a message queue of the host, and their end. */
static int plant_ipc(char **argument)
{
	char name[64];

	snprintf(name, sizeof name, "/hostile-%s", argument[0]);
	if (shmget((key_t)number(argument[0]), 4096, IPC_CREAT | 0600) < 0 ||
	    mq_open(name, O_RDWR | O_CREAT, 0600, NULL) < 0)
		mistake(name);
	return WON;
}

static int uproot_ipc(char **argument)
{
	char name[64];
	int id = shmget((key_t)number(argument[0]), 0, 0);

	snprintf(name, sizeof name, "/hostile-%s", argument[0]);
	shmctl(id, IPC_RMID, NULL);
	mq_unlink(name);
	return WON;
}

/* So that whoever executes the file has CAP_NET_RAW. */
static int plant_capability(char **argument)
{
	struct vfs_cap_data data = {
		.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
		.data[0].permitted = 1 << CAP_NET_RAW,
	};

	if (setxattr(argument[0], "security.capability", &data, sizeof data, 0) != 0)
		mistake(argument[0]);
	return WON;
}

const struct attack plants[] = {
	{"plant_ipc", 1, plant_ipc},
	{"uproot_ipc", 1, uproot_ipc},
	{"plant_capability", 1, plant_capability},
	{0},
};
