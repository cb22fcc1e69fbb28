/*
 * fuzz.h: what the fuzzers share: the promise, and a main() for where there is no libFuzzer, which feeds a fuzzer random inputs
 * for some seconds. Each fuzzer says with fuzz_fill() what its inputs look like then; one that needs more brings its own main().
 */
#ifndef PRM_FUZZ_H
#define PRM_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROMISE(condition)                                                                                   \
	do                                                                                                       \
	{                                                                                                        \
		if (!(condition))                                                                                    \
		{                                                                                                    \
			fprintf(stderr, "line %d: broken promise: %s\n", __LINE__, #condition);                         \
			abort();                                                                                         \
		}                                                                                                    \
	} while (0)

#if defined(PRM_FUZZ_STANDALONE) && !defined(PRM_FUZZ_OWN_MAIN)
/* Makes an input of at most so many bytes and returns how many it has. */
static size_t fuzz_fill(uint8_t *data, size_t room);

int
main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	long runs = 0;
	uint8_t data[160];

	srand(1);
	for (; time(NULL) < end; runs++)
		LLVMFuzzerTestOneInput(data, fuzz_fill(data, sizeof(data)));
	printf("%ld inputs\n", runs);
	return 0;
}
#endif

#endif /* PRM_FUZZ_H */
