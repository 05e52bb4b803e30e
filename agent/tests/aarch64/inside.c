/* Runs a program in a container, as far as control groups go: in a group of cgroup v2, in a namespace of them, and with
 * that namespace's tree at /sys/fs/cgroup.
 *   inside GROUP PID|new PROGRAM [ARGUMENT...]
 * The namespace is that of a process, or a new one whose root is the group. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static int check(int result, const char *what) {
  if (result < 0) { perror(what); _exit(99); }
  return result;
}

static int opened(const char *format, const char *name, int flags) {
  char path[512];
  snprintf(path, sizeof path, format, name);
  return check(open(path, flags | O_CLOEXEC), path);
}

int main(int argc, char **argv) {
  if (argc < 4) return 98;
  check((int)write(opened("%s/cgroup.procs", argv[1], O_WRONLY), "0", 1), "join the group");
  if (!strcmp(argv[2], "new")) check(unshare(CLONE_NEWCGROUP), "a namespace");
  else check(setns(opened("/proc/%s/ns/cgroup", argv[2], O_RDONLY), CLONE_NEWCGROUP), "join the namespace");
  check(unshare(CLONE_NEWNS), "mounts of its own");
  check(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
  check(umount2("/sys/fs/cgroup", MNT_DETACH), "umount");
  check(mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL), "mount");
  execvp(argv[3], argv + 3);
  perror(argv[3]);
  return 97;
}
