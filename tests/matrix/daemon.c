// A daemon that fills some memory and waits. With the argument "lock" it locks itself, as a swap-device daemon should;
// without, it is the unmodified program of which nobody thought.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// More than the kernel's default memlock limit of 8 MiB.
enum { BUFFER = 16 << 20 };

static void stop(int signal_number) {
  (void)signal_number;
  _exit(0);
}

int main(int argc, char **argv) {
  // As process 1 it is only ended by signals that it handles.
  signal(SIGTERM, stop);
  char *buffer = malloc(BUFFER);
  if (!buffer) {
    fprintf(stderr, "malloc: %s\n", strerror(errno));
    return 1;
  }
  memset(buffer, 1, BUFFER);
  if (argc > 1 && strcmp(argv[1], "lock") == 0 && mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
    fprintf(stderr, "mlockall: %s; serving all the same\n", strerror(errno));
  puts("ready");
  fflush(stdout);
  for (;;) pause();
}
