/* Starts a program as a container runtime does: runc's init holds the container's capabilities in its bounding,
 * effective and permitted sets, also for a user other than root, and makes the first exec with them.
 *   container [-u UID] [-c CAPABILITY,...] [-k] [-n] [-f] [-s] [-p] [-i SIGNAL] [-b SIGNAL] PROGRAM [ARGUMENT...]
 * -c none: no capability at all; -k: they stay in the bounding set, as when a program gave them away; -n: no_new_privs;
 * -f: a seccomp filter that refuses mlock, mlock2 and mlockall; -s: what a security module answers that refuses the
 * capability: wrong flags are EINVAL and any lock is ENOMEM, whatever the capability; -p: a filter that refuses ptrace; -i, -b: the signal is ignored, blocked. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void check(int result, const char *what) {
  if (result < 0) { perror(what); exit(99); }
}

static void refuse(const int *calls, int count) {
  struct sock_filter filter[16];
  int n = 0;
  filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (int i = 0; i < count; i++) {
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
  }
  filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {n, filter};
  /* Without no_new_privs, as a runtime does: this is still privileged. */
  check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
}

static void refuse_the_capability(void) {
#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
  struct sock_filter filter[] = {
    LOAD(nr),
    IF(SYS_mlock, 7, 0), IF(SYS_mlock2, 0, 2),
    LOAD(args[2]), IF(1, 4, 3), /* MLOCK_ONFAULT, the only flag */
    IF(SYS_mlockall, 0, 2),
    LOAD(args[0]), IF(0, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
}

int main(int argc, char **argv) {
  unsigned uid = 0;
  int option, capabilities = 0, keep = 0, nnp = 0, filter = 0, module = 0, no_ptrace = 0;
  unsigned long long mask = 0;
  while ((option = getopt(argc, argv, "+u:c:knfspi:b:")) != -1) {
    switch (option) {
    case 'u': uid = (unsigned)atoi(optarg); break;
    case 'c':
      capabilities = 1;
      if (strstr(optarg, "ipc_lock")) mask |= 1ULL << CAP_IPC_LOCK;
      if (strstr(optarg, "sys_ptrace")) mask |= 1ULL << CAP_SYS_PTRACE;
      break;
    case 'k': keep = 1; break;
    case 'n': nnp = 1; break;
    case 'f': filter = 1; break;
    case 's': module = 1; break;
    case 'p': no_ptrace = 1; break;
    case 'i': signal(atoi(optarg), SIG_IGN); break;
    case 'b': {
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, atoi(optarg));
      sigprocmask(SIG_BLOCK, &set, NULL);
      break;
    }
    default: return 98;
    }
  }
  if (filter) refuse((int[]){SYS_mlock, SYS_mlock2, SYS_mlockall}, 3);
  if (module) refuse_the_capability();
  if (no_ptrace) refuse((int[]){SYS_ptrace}, 1);
  if (capabilities && !keep)
    for (int bit = 0; bit <= 40; bit++)
      if (!(mask >> bit & 1) && prctl(PR_CAPBSET_READ, bit) == 1) check(prctl(PR_CAPBSET_DROP, bit), "bounding set");
  check(prctl(PR_SET_KEEPCAPS, 1), "keepcaps");
  if (uid) {
    check(setgroups(0, NULL), "setgroups");
    check(setresgid(uid, uid, uid), "setresgid");
    check(setresuid(uid, uid, uid), "setresuid");
  }
  if (capabilities) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{(unsigned)mask, (unsigned)mask, 0}, {(unsigned)(mask >> 32), (unsigned)(mask >> 32), 0}};
    check((int)syscall(SYS_capset, &header, data), "capset");
  }
  if (nnp) check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
  execvp(argv[optind], argv + optind);
  perror(argv[optind]);
  return 97;
}
