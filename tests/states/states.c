/* Puts itself into one state of memory locking, says "ready", and waits to be looked at.
 * The states are those that a check by VmLck alone gets wrong, and those that it must get right. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ul << 20)
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

static char **arguments;

static void must(int ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "cannot %s: %s\n", what, strerror(errno));
    exit(1);
}

static void lock(int flags) { must(mlockall(flags) == 0, "mlockall"); }
static void lock_all(void) { lock(MCL_CURRENT | MCL_FUTURE); }
static void lock_onfault(void) { lock(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT); }

static char *map_with(size_t bytes, int protection, int flags, int fd) {
    char *at = mmap(NULL, bytes, protection, flags, fd, 0);
    must(at != MAP_FAILED, "mmap");
    return at;
}
static char *map(size_t bytes) { return map_with(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static char *touched(size_t bytes) { return memset(map(bytes), 1, bytes); }

static int file_of(size_t bytes) {
    int fd = memfd_create("states", 0);
    must(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, "make a file");
    return fd;
}

static void *sleeper(void *unused) { for (;;) pause(); return unused; }
static void threads(int count) {
    for (pthread_t thread; count > 0; count--) must(pthread_create(&thread, NULL, sleeper, NULL) == 0, "start a thread");
}

static pid_t child(void) {
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) sleeper(NULL);
    return pid;
}

static void execute_again(const char *state) {
    arguments[1] = (char *)state;
    execv("/proc/self/exe", arguments);
    must(0, "exec");
}

static int rings(void) {
    struct io_uring_params parameters = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 4096, &parameters);
    must(fd >= 0, "io_uring_setup");
    size_t queue = parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned);
    size_t completions = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
    if (completions > queue) queue = completions;
    must(mmap(NULL, queue, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING) != MAP_FAILED, "map the ring");
    must(mmap(NULL, parameters.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
              IORING_OFF_SQES) != MAP_FAILED, "map the entries");
    return fd;
}

static void none(void) { touched(16 * MIB); }
static void all(void) { touched(16 * MIB); lock_all(); }
static void all_then_map(void) { lock_all(); map(64 * MIB); }
static void current_then_map(void) { lock(MCL_CURRENT); touched(64 * MIB); }
static void current_then_page(void) { lock(MCL_CURRENT); touched(4096); }
static void current_then_stack(void) { lock(MCL_CURRENT); volatile char room[2 * MIB]; memset((char *)room, 1, sizeof room); }
static void current_then_heap(void) { lock(MCL_CURRENT); must(sbrk(8 * MIB) != (void *)-1, "grow the heap"); }
static void future_only(void) { touched(16 * MIB); lock(MCL_FUTURE); touched(4 * MIB); }
static void one_page(void) { must(mlock(touched(64 * MIB), 4096) == 0, "mlock"); }
static void onfault(void) { lock_onfault(); memset(map(64 * MIB), 1, 8 * MIB); }
static void onfault_range(void) { char *at = map(64 * MIB); must(mlock2(at, 64 * MIB, MLOCK_ONFAULT) == 0, "mlock2"); memset(at, 1, 8 * MIB); }
static void forked(void) { all(); child(); }
static void forked_both(void) { all(); if (fork() == 0) { lock_all(); sleeper(NULL); } }
static void executed(void) { lock_all(); execute_again("none"); }
static void unlocked_again(void) { all(); must(munlockall() == 0, "munlockall"); }
static void unlocked_range(void) { char *at = touched(16 * MIB); lock_all(); must(munlock(at, MIB) == 0, "munlock"); }
static void shared_file(void) { memset(map_with(32 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, file_of(32 * MIB)), 1, 32 * MIB); lock_all(); }
static void shared_file_after(void) { lock_all(); map_with(32 * MIB, PROT_READ, MAP_SHARED, file_of(32 * MIB)); }
static void shared_with_child(void) { memset(map_with(16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1), 1, 16 * MIB); lock_all(); child(); }
static void huge_pages(void) { char *at = map(32 * MIB); madvise(at, 32 * MIB, MADV_HUGEPAGE); memset(at, 1, 32 * MIB); lock_all(); }
static void hugetlb(void) { memset(map_with(4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1), 1, 4 * MIB); lock_all(); }
static void threads_then_lock(void) { threads(4); lock_all(); }
static void lock_then_threads(void) { lock_all(); threads(4); }
static void onfault_then_threads(void) { lock_onfault(); threads(4); }
static void current_then_threads(void) { lock(MCL_CURRENT); threads(4); }
static void thousand_threads(void) { lock_onfault(); threads(1000); }
static void ring(void) { rings(); lock_all(); }
static void registered(void) {
    struct iovec buffer = {touched(16 * MIB), 16 * MIB};
    must(syscall(SYS_io_uring_register, rings(), IORING_REGISTER_BUFFERS, &buffer, 1) == 0, "register a buffer");
}
static void secret(void) {
    int fd = (int)syscall(SYS_memfd_secret, 0);
    must(fd >= 0 && ftruncate(fd, (off_t)MIB) == 0, "make a secret file");
    memset(map_with(MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd), 1, MIB);
    lock_all();
}
static void reserved(void) { map_with(1024 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1); lock_all(); }
static void reserved_then_used(void) {
    lock_onfault();
    char *at = map_with(1024 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    must(mprotect(at, 16 * MIB, PROT_READ | PROT_WRITE) == 0, "mprotect");
    memset(at, 1, MIB);
}
static void reserved_and_populated(void) {
    lock_all();
    char *at = map_with(1024 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    must(mprotect(at, 16 * MIB, PROT_READ | PROT_WRITE) == 0, "mprotect");
}
static void droppable(void) { lock_all(); memset(map_with(MIB, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_DROPPABLE, -1), 1, MIB); }
static void beyond_the_end(void) { map_with(MIB, PROT_READ | PROT_WRITE, MAP_SHARED, file_of(4096)); lock_all(); }
static void zombie(void) { all(); if (fork() == 0) _exit(0); }
static void undumpable(void) { all(); must(prctl(PR_SET_DUMPABLE, 0) == 0, "become undumpable"); }
static void strange_name(void) { all(); must(prctl(PR_SET_NAME, "a\nVmLck:\t9 kB") == 0, "change the name"); }
static void wrapped(void) { if (fork() == 0) { arguments[1] = "all"; execv("/proc/self/exe", arguments); } }

/* The first thread ends before the others: /proc/PID is a zombie's then, and the memory is all there. */
static void *outlives(void *unused) {
    for (char state = 0; state != 'Z'; usleep(1000)) {
        FILE *file = fopen("/proc/self/stat", "r");
        must(file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1 && fclose(file) == 0, "see the first thread end");
    }
    puts("ready");
    fflush(stdout);
    return sleeper(unused);
}
static void end_first_thread(void) {
    pthread_t thread;
    must(pthread_create(&thread, NULL, outlives, NULL) == 0, "start a thread");
    syscall(SYS_exit, 0);
}
static void leader_gone(void) { none(); end_first_thread(); }
static void leader_gone_beside_locked(void) { all(); if (fork() == 0) end_first_thread(); sleeper(NULL); }
static void leader_gone_locked_too(void) { all(); if (fork() == 0) { lock_all(); end_first_thread(); } sleeper(NULL); }

static void become_user(void) { must(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0, "become uid 1000"); }
static void dropped(void) { all(); become_user(); }
/* Only who may trace a process sees it then, or is of that group: not even root, without CAP_SYS_PTRACE. */
static void hide(void) { must(mount("proc", "/proc", "proc", MS_REMOUNT, "hidepid=2,gid=65534") == 0, "hide processes"); become_user(); }
static void hidden(void) { all(); hide(); }
static void hidden_none(void) { none(); hide(); }

static void *reaper(void *unused) { for (;;) if (wait(NULL) < 0) usleep(100); return unused; }
static int leave(void *unused) { (void)unused; return 0; }
/* Processes that are gone before they are read. */
static void churning(void *(*breeder)(void *), void *stack) {
    pthread_t thread;
    must(pthread_create(&thread, NULL, reaper, NULL) == 0 && pthread_create(&thread, NULL, breeder, stack) == 0, "start threads");
}
static void *forks(void *unused) { for (;;) { if (fork() == 0) _exit(0); usleep(200); } return unused; }
/* Each child has the parent's memory itself, not a copy, and so its locks. */
static void *clones(void *stack) { for (;;) { clone(leave, (char *)stack + MIB, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL); usleep(200); } return stack; }
static void churn(void) { none(); churning(forks, NULL); }
static void churn_locked(void) { all(); churning(clones, touched(MIB)); }

/* The others are changed, or their surroundings are, between a word and the signal. */
static void say_and_wait(const char *word) {
    sigset_t go;
    int which;
    sigemptyset(&go);
    sigaddset(&go, SIGUSR1);
    sigprocmask(SIG_BLOCK, &go, NULL);
    puts(word);
    fflush(stdout);
    must(sigwait(&go, &which) == 0, "wait");
}
static void pressed(void) { say_and_wait("full"); }
static void pressed_none(void) { touched(40 * MIB); pressed(); }
static void pressed_page(void) { must(mlock(touched(40 * MIB), 4096) == 0, "mlock"); pressed(); }
static void pressed_all(void) { touched(40 * MIB); lock_all(); pressed(); }
static void pressed_onfault(void) { lock_onfault(); touched(40 * MIB); pressed(); }
static void pressed_then_onfault(void) { touched(40 * MIB); pressed(); lock_onfault(); }
static void pressed_then_all(void) { touched(40 * MIB); pressed(); lock_all(); }
/* Of shared memory in swap no counter of the process tells. */
static void pressed_shared(void) {
    lock(MCL_CURRENT);
    memset(map_with(40 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1), 1, 40 * MIB);
    pressed();
    lock_onfault();
}

static void *five_seconds(void *unused) { sleep(5); _exit(1); return unused; }
static void crashing(void) {
    pthread_t thread;
    all();
    must(pthread_create(&thread, NULL, five_seconds, NULL) == 0, "start a thread");
}
static void unlocking(void) { all(); pressed(); must(munlockall() == 0, "munlockall"); }

/* Of the container's own memory control group, version 1 or 2. */
static size_t charged(const char *first, const char *second) {
    FILE *file = fopen(first, "r");
    size_t bytes = 0;
    if (!file) file = fopen(second, "r");
    must(file && fscanf(file, "%zu", &bytes) == 1 && fclose(file) == 0, "read the memory control group");
    return bytes;
}
/* Locks, and fills its memory limit in steps: but for so many MiB each. */
static void filling(void) {
    lock_all();
    size_t limit = charged("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max");
    for (char **step = arguments + 2; *step; step++) {
        size_t left = strtoul(*step, NULL, 10) * MIB;
        while (charged("/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory.current") + left + 65536 < limit)
            touched(65536);
        say_and_wait(*step);
    }
}

static const struct { const char *name; void (*enter)(void); } states[] = {
#define STATE(name) {#name, name}
    STATE(none), STATE(all), STATE(all_then_map), STATE(current_then_map), STATE(current_then_page), STATE(current_then_stack),
    STATE(current_then_heap), STATE(future_only), STATE(one_page), STATE(onfault), STATE(onfault_range), STATE(forked),
    STATE(forked_both), STATE(executed), STATE(unlocked_again), STATE(unlocked_range), STATE(shared_file),
    STATE(shared_file_after), STATE(shared_with_child), STATE(huge_pages), STATE(hugetlb), STATE(threads_then_lock),
    STATE(lock_then_threads), STATE(onfault_then_threads), STATE(current_then_threads), STATE(thousand_threads), STATE(ring),
    STATE(registered), STATE(secret), STATE(reserved), STATE(reserved_then_used), STATE(droppable), STATE(beyond_the_end),
    STATE(zombie), STATE(undumpable), STATE(strange_name), STATE(wrapped), STATE(reserved_and_populated), STATE(dropped),
    STATE(hidden), STATE(hidden_none), STATE(churn), STATE(churn_locked), STATE(leader_gone), STATE(leader_gone_beside_locked),
    STATE(leader_gone_locked_too),
/* Not in the table, for other tests. */
#define OTHER(name) {#name, name}
    OTHER(pressed_none), OTHER(pressed_page), OTHER(pressed_all), OTHER(pressed_onfault), OTHER(pressed_then_onfault),
    OTHER(pressed_then_all), OTHER(pressed_shared), OTHER(crashing), OTHER(unlocking), OTHER(filling),
};

int main(int count, char **given) {
    arguments = given;
    for (size_t n = 0; n < sizeof states / sizeof *states; n++) {
        if (count < 2) { puts(states[n].name); continue; }
        if (strcmp(given[1], states[n].name)) continue;
        states[n].enter();
        puts("ready");
        fflush(stdout);
        sleeper(NULL);
    }
    return count < 2 ? 0 : 2;
}
