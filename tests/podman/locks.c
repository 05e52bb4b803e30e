/* Locks memory in one of several ways, and says on one line how that ended and with what.
 *   locks         maps 64 MiB and calls mlockall; the exit code is 0 either way
 *   locks must    the same, and the exit code is 1 when it failed
 *   locks grow    mlockall while it is small, then maps 64 MiB
 *   locks page    locks one page
 *   locks fill    mlockall, then maps 64 MiB, all of it in memory */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static void *map(size_t bytes)
{
	return mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static const char *word(int failed)
{
	if (!failed)
		return "ok";
	return errno == ENOMEM ? "ENOMEM" : errno == EPERM ? "EPERM" : errno == EAGAIN ? "EAGAIN" : "other";
}

static void print(const char *name, const char *file, const char *key)
{
	char line[256], value[32] = "?";
	FILE *lines = fopen(file, "r");

	while (lines && fgets(line, sizeof line, lines))
		if (!strncmp(line, key, strlen(key)))
			sscanf(line + strlen(key), "%31s", value);
	if (lines)
		fclose(lines);
	printf(" %s=%s", name, value);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	int failed = 0;

	if (!strcmp(how, "grow") || !strcmp(how, "fill")) {
		failed = mlockall(MCL_CURRENT | MCL_FUTURE);
		printf("mlockall %s, ", word(failed));
		fflush(stdout);
		failed = map(64 << 20) == MAP_FAILED;
		printf("mmap %s", word(failed));
	} else if (!strcmp(how, "page")) {
		failed = mlock(map(4096), 4096);
		printf("%s", word(failed));
	} else {
		if (map(64 << 20) == MAP_FAILED)
			return 1;
		/* ONFAULT needs no memory, and is held to the same limit (mm/mlock.c). */
		failed = mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
		printf("%s", word(failed));
	}
	print("CapEff", "/proc/self/status", "CapEff:");
	print("VmLck", "/proc/self/status", "VmLck:");
	print("limit", "/proc/self/limits", "Max locked memory");
	puts("");
	return failed && !strcmp(how, "must");
}
