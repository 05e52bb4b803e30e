/* Maps 64 MiB, calls mlockall, and says on one line how that ended and with what. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

int main(void)
{
	char line[256], capabilities[32] = "?";
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof line, status))
		sscanf(line, "CapEff: %31s", capabilities);
	if (mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		return 1;
	/* ONFAULT needs no memory, and is held to the same limit (mm/mlock.c). */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0)
		printf("ok CapEff=%s\n", capabilities);
	else
		printf("%s CapEff=%s\n", errno == ENOMEM ? "ENOMEM" : errno == EPERM ? "EPERM" : "other", capabilities);
	return 0;
}
