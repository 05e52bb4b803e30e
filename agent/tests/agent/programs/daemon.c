/* A daemon: says who it is, then does what its first argument says until a signal ends it.
 *   daemon wait | exit CODE | lock | rings | grow | partial | threads | children | fork | zombie |
 *          outlived | outlived-lock | outlived-partial */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#ifdef BALLAST
/* A large program: data that it never touches. */
char ballast[BALLAST];
#endif

static void *idle(void *nothing) {
  for (;;) pause();
  return nothing;
}

/* The first thread is a zombie before the others end; they keep the memory. */
static void *outlive(void *nothing) {
  prctl(PR_SET_NAME, "another");
  for (char state = 0; state != 'Z'; usleep(1000)) {
    FILE *stat = fopen("/proc/self/stat", "r");
    if (!stat || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1) _exit(1);
    fclose(stat);
  }
  printf("\n");
  fflush(stdout);
  return idle(nothing);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "wait";
  sigset_t blocked;
  sigprocmask(SIG_SETMASK, NULL, &blocked);
  struct sigaction child;
  sigaction(SIGCHLD, NULL, &child);
  printf("pid %d parent %d blocked %d ignored %d", getpid(), getppid(), sigismember(&blocked, SIGCHLD) + 2 * sigismember(&blocked, SIGUSR1),
         child.sa_handler == SIG_IGN);
  for (int i = 0; i < argc; i++) printf(" [%s]", argv[i]);
  for (char **entry = environ; *entry; entry++)
    if (!strncmp(*entry, "MARK=", 5)) printf(" {%s}", *entry);
  if (!strcmp(what, "children")) {
    /* No child of which this program does not know, not even a zombie. */
    errno = 0;
    int found = waitpid(-1, NULL, WNOHANG | __WALL);
    printf(" children %d errno %d", found, errno);
    /* And waiting for one's own still works. */
    pid_t own = fork();
    if (!own) _exit(3);
    int status = 0;
    printf(" waited %d", waitpid(own, &status, 0) == own && WEXITSTATUS(status) == 3);
  }
  if (!strcmp(what, "grow")) mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!strcmp(what, "lock")) printf(" mlockall %d", mlockall(MCL_CURRENT | MCL_FUTURE));
  if (!strcmp(what, "rings")) {
    /* The ring of asynchronous I/O is a mapping of a driver, as that of io_uring: never locked, never swapped. */
    unsigned long context = 0;
    printf(" mlockall %d rings %ld", mlockall(MCL_CURRENT | MCL_FUTURE), syscall(SYS_io_setup, 4096, &context));
  }
  if (!strcmp(what, "fork")) {
    /* A child inherits no lock. */
    mlockall(MCL_CURRENT | MCL_FUTURE);
    if (!fork()) for (;;) pause();
  }
  if (!strcmp(what, "zombie")) {
    mlockall(MCL_CURRENT | MCL_FUTURE);
    if (!fork()) _exit(0);
    usleep(50000);
  }
  if (!strcmp(what, "partial")) mlock(idle, 1);
  if (!strcmp(what, "threads")) {
    pthread_t thread;
    for (int i = 0; i < 3; i++) pthread_create(&thread, NULL, idle, NULL);
  }
  if (!strncmp(what, "outlived", 8)) {
    pthread_t thread;
    if (strstr(what, "lock")) printf(" mlockall %d", mlockall(MCL_CURRENT | MCL_FUTURE));
    if (strstr(what, "partial")) mlock(idle, 1);
    pthread_create(&thread, NULL, outlive, NULL);
    syscall(SYS_exit, 0);
  }
  printf("\n");
  fflush(stdout);
  if (!strcmp(what, "exit")) return atoi(argv[2]);
  for (;;) pause();
}
