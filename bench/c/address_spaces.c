/*
 * One pid for each address space that the pids on the standard input have: processes made with CLONE_VM share
 * theirs, and what it holds must not be counted twice. The kernel orders them (kcmp(2)), so they can be sorted.
 *
 *     echo "12 13 14" | address_spaces
 */
#include "clock.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

static int order(const void *a, const void *b)
{
    /* 0 for the same, 1 for less, 2 for greater. */
    long result = syscall(SYS_kcmp, *(const pid_t *)a, *(const pid_t *)b, KCMP_VM, 0, 0);
    if (result < 0 && errno != ESRCH)
        die("kcmp");
    return result == 1 ? -1 : result == 2 ? 1 : 0;
}

int main(void)
{
    size_t count = 0, room = 1024;
    pid_t *pids = malloc(room * sizeof *pids);

    while (pids && scanf("%d", &pids[count]) == 1)
        if (++count == room)
            pids = realloc(pids, (room *= 2) * sizeof *pids);
    if (!pids)
        die("realloc");

    qsort(pids, count, sizeof *pids, order);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || order(&pids[i - 1], &pids[i]) != 0)
            printf("%d\n", pids[i]);
    return 0;
}
