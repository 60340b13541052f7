// Entry of the multi-call binary: `attack NAME` runs one program, `attack --list` names all, `attack --bait` is for
// the harness (see bait.c).
// Programs register themselves (see ATTACK in attack.h), so there is no table to keep.

#include "attack.h"

#include <ctype.h>
#include <dirent.h>
#include <poll.h>

#define MAX_PROGRAMS 256

int attack_bait(void);

static struct {
    char name[64];
    int (*body)(void);
} programs[MAX_PROGRAMS];
static unsigned program_count;
static unsigned attempts;
static int last_errno;

void attack_register(const char *id, int (*body)(void))
{
    if (program_count == MAX_PROGRAMS)
        abort();
    char *name = programs[program_count].name;
    snprintf(name, sizeof programs[0].name, "%s", id);
    for (char *c = name; *c; c++)
        if (*c == '_')
            *c = '-';
    programs[program_count++].body = body;
}

void attack_verdict(const char *verdict, const char *format, ...)
{
    // The detail may hold names that the attacked side chose: keep the verdict one line.
    char detail[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    for (char *c = detail; *c; c++)
        if (!isprint((unsigned char)*c))
            *c = '?';
    printf("%s %s\n", verdict, detail);
    fflush(stdout);
    _exit(0);
}

void attack_give_up(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("attack not carried out: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    _exit(2);
}

int attack_is_refusal(void)
{
    return errno == EPERM || errno == EACCES || errno == ENOSYS;
}

void attack_judge(const char *what, long ret, int refused)
{
    int error = errno;
    if (ret >= 0)
        ESCAPED("%s worked (returned %ld)", what, ret);
    if (!refused)
        ESCAPED("%s reached the kernel: %s", what, strerror(error));
    attempts++;
    last_errno = error;
}

const char *attack_tally(void)
{
    static char text[96];
    snprintf(text, sizeof text, "%u attempts, last: %s", attempts, strerror(last_errno));
    return text;
}

unsigned attack_attempts(void)
{
    return attempts;
}

const char *attack_env(const char *name)
{
    const char *value = getenv(name);
    if (!value || !*value)
        attack_give_up("%s is not set", name);
    return value;
}

uint64_t attack_env_number(const char *name, uint64_t fallback)
{
    const char *value = getenv(name);
    return value && *value ? strtoull(value, NULL, 10) : fallback;
}

int attack_in_child(int (*body)(void *), void *argument)
{
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        attack_give_up("fork: %s", strerror(errno));
    if (child == 0)
        _exit(body(argument));
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            attack_give_up("waitpid: %s", strerror(errno));
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void attack_touch(void *block, size_t size)
{
    memset(block, 0x5a, size);
    __asm__ volatile("" : : "r"(block) : "memory");
}

int attack_await_byte(int fd, char *byte)
{
    for (;;) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        int ready = poll(&readable, 1, 10);
        if (waitpid(-1, NULL, WNOHANG) > 0)
            return 0;
        if (ready > 0)
            return read(fd, byte, 1) == 1;
    }
}

pid_t attack_next_pid(pid_t previous)
{
    pid_t best = 0;
    DIR *proc = opendir("/proc");
    if (!proc)
        attack_give_up("/proc: %s", strerror(errno));
    for (struct dirent *entry; (entry = readdir(proc));) {
        pid_t pid = atoi(entry->d_name);
        if (pid > previous && (best == 0 || pid < best))
            best = pid;
    }
    closedir(proc);
    return best;
}

long attack_uid_of(pid_t pid)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *status = fopen(path, "r");
    if (!status)
        return -1;
    long uid = -1;
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "Uid: %ld", &uid) == 1)
            break;
    fclose(status);
    return uid;
}

char attack_state_of(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *stat = fopen(path, "r");
    if (!stat)
        return 0;
    size_t length = fread(text, 1, sizeof text - 1, stat);
    fclose(stat);
    text[length] = 0;
    char *end = strrchr(text, ')');
    return end && end[1] == ' ' ? end[2] : 0;
}

void attack_sleep_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&pause, &pause) && errno == EINTR) {
    }
}

uint64_t attack_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (unsigned i = 0; i < program_count; i++)
            puts(programs[i].name);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--bait") == 0)
        return attack_bait();
    for (unsigned i = 0; argc >= 2 && i < program_count; i++)
        if (strcmp(programs[i].name, argv[1]) == 0)
            return programs[i].body();
    fprintf(stderr, "usage: attack --list | attack NAME\n");
    return 2;
}
