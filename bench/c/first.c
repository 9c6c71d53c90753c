/*
 * A program whose first instruction that matters asks for the time, and writes it to the file it is given.
 * Without a C library, which would run before it.
 *
 *     first PATH
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");

static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tbl begin\n");

static long call(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#else
#error "first.c knows no system calls of this processor"
#endif

__attribute__((used, noreturn)) void begin(const long *stack)
{
    struct timespec now;
    call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0);

    int64_t ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    const char *path = (const char *)stack[2]; /* argc, argv[0], argv[1] */
    long fd = stack[0] == 2 ? call(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    long written = fd < 0 ? -1 : call(SYS_write, fd, (long)&ns, sizeof ns, 0);

    for (;;)
        call(SYS_exit_group, written == sizeof ns ? 0 : 1, 0, 0, 0);
}
