/* Attacks on the network of the host, and by way of it. */
#include "hostile.h"
#include <arpa/inet.h>
#include <linux/if_alg.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_in address(const char *host, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, host, &address.sin_addr);
	return address;
}

/* A service that trusts everybody who comes from this machine. */
static int connect_loopback(char **argument)
{
	struct sockaddr_in there = address("127.0.0.1", number(argument[0]));
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return verdict(connect(fd, (void *)&there, sizeof there), "connect");
}

/* Whether there is a way; nothing is sent. */
static int route_outside(char **argument)
{
	struct sockaddr_in there = address("192.0.2.1", 9);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)argument;
	return verdict(connect(fd, (void *)&there, sizeof there), "connect");
}

static int connect_unix(const char *name, size_t length)
{
	struct sockaddr_un there = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(there.sun_path, name, length);
	return connect(fd, (void *)&there, offsetof(struct sockaddr_un, sun_path) + length);
}

static int socket_file(char **argument)
{
	return verdict(connect_unix(argument[0], strlen(argument[0]) + 1), argument[0]);
}

static int abstract_socket(char **argument)
{
	char name[100] = {0};

	strncpy(name + 1, argument[0], sizeof name - 2);
	return verdict(connect_unix(name, strlen(argument[0]) + 1), argument[0]);
}

static int raw_socket(char **argument)
{
	(void)argument;
	return verdict(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), "SOCK_RAW");
}

/* All that passes the interfaces. */
static int sniff(char **argument)
{
	(void)argument;
	return verdict(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), "AF_PACKET");
}

static int change_interface(char **argument)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)argument;
	if (ioctl(fd, SIOCGIFMTU, &request) != 0)
		mistake("SIOCGIFMTU");
	return verdict(ioctl(fd, SIOCSIFMTU, &request), "SIOCSIFMTU");
}

/* What changes the packet filter, which has had more holes than anything else of its size. */
static int packet_filter(char **argument)
{
	struct {
		struct nlmsghdr header;
		uint32_t family;
	} request = {{sizeof request, (10 << 8) | 0x7fff, NLM_F_REQUEST | NLM_F_ACK, 1, 0}, 0};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);

	(void)argument;
	if (fd < 0 || send(fd, &request, sizeof request, 0) < 0 ||
	    recv(fd, &answer, sizeof answer, 0) < (ssize_t)sizeof answer)
		return stopped("NETLINK_NETFILTER");
	/* No such message: but it has been looked at. */
	errno = -answer.error.error;
	return errno == EPERM ? stopped("NETLINK_NETFILTER") : WON;
}

/* The machine that this one is a guest of, whatever network namespace we are in. */
static int hypervisor(char **argument)
{
	struct sockaddr_vm here = {.svm_family = AF_VSOCK, .svm_port = VMADDR_PORT_ANY,
				   .svm_cid = VMADDR_CID_ANY};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	(void)argument;
	if (fd < 0)
		return stopped("AF_VSOCK");
	return verdict(bind(fd, (void *)&here, sizeof here), "bind");
}

static int kernel_crypto(char **argument)
{
	struct sockaddr_alg cipher = {.salg_family = AF_ALG, .salg_type = "hash",
				      .salg_name = "sha256"};
	int fd = socket(AF_ALG, SOCK_SEQPACKET, 0);

	(void)argument;
	if (fd < 0)
		return stopped("AF_ALG");
	return verdict(bind(fd, (void *)&cipher, sizeof cipher), "bind");
}

const struct attack network_attacks[] = {
	{"connect_loopback", 1, connect_loopback},
	{"route_outside", 0, route_outside},
	{"socket_file", 1, socket_file},
	{"abstract_socket", 1, abstract_socket},
	{"raw_socket", 0, raw_socket},
	{"sniff", 0, sniff},
	{"change_interface", 0, change_interface},
	{"packet_filter", 0, packet_filter},
	{"hypervisor", 0, hypervisor},
	{"kernel_crypto", 0, kernel_crypto},
	{0},
};
