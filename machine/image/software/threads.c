// SPDX-License-Identifier: GPL-2.0
/*
 * threads: what four threads do depends on who gets the lock when, on the time and
 * on random bytes.  It prints a sum of all that: another one each time, unless a
 * recording is played back.
 */
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define THREADS	4
#define ROUNDS	200

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long sum, handovers, last;

static void mix(unsigned long n)
{
	sum = (sum ^ n) * 1099511628211ul;
}

static void *run(void *arg)
{
	unsigned long me = (unsigned long)arg, n, i, bits;
	struct timespec now;

	for (n = 0; n < ROUNDS; n++) {
		/* Conditional branches, as many as the random bits say. */
		if (getrandom(&bits, sizeof(bits), 0) != sizeof(bits))
			return NULL;
		for (i = 0; i < 200 + bits % 1000; i++)
			__asm__ volatile("" : "+r"(bits));
		clock_gettime(CLOCK_MONOTONIC, &now);

		pthread_mutex_lock(&lock);
		mix(me);
		mix(bits);
		mix(now.tv_nsec);
		handovers += last != me;
		last = me;
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

int main(void)
{
	pthread_t threads[THREADS];
	unsigned long i;
	void *done;

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)(i + 1)))
			return 1;
	for (i = 0; i < THREADS; i++)
		if (pthread_join(threads[i], &done) || done != (void *)(i + 1))
			return 1;
	printf("sum %016lx handovers %lu\n", sum, handovers);
	return 0;
}
