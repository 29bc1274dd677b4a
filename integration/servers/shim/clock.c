/* A wall clock that a test can set, for a server that is started with this library
 * in LD_PRELOAD: the time is what the system says, and what the file adds that
 * QUORUMLOCK_CLOCK names. The monotonic clocks are the system's. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The file. The test writes it while sequence is odd. */
struct dial {
	_Atomic int64_t sequence;
	_Atomic int64_t offset; /* in microseconds */
	_Atomic int64_t since;  /* when the rate was set, by the system's clock, in microseconds since 1970 */
	_Atomic int64_t rate;   /* by how much it runs fast, in millionths */
	_Atomic int64_t users;  /* processes that have found the file */
};

static struct dial *dial;

__attribute__((constructor)) static void find(void)
{
	const char *name = getenv("QUORUMLOCK_CLOCK");
	int file = name ? open(name, O_RDWR) : -1;
	void *p = file < 0 ? MAP_FAILED : mmap(0, sizeof *dial, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (file >= 0)
		close(file);
	if (p == MAP_FAILED) {
		static const char text[] = "clock: QUORUMLOCK_CLOCK names no file that can be used\n";
		if (write(2, text, sizeof text - 1) < 0)
			_exit(126);
		_exit(127);
	}
	dial = p;
	atomic_fetch_add(&dial->users, 1);
}

/* ahead returns by how many microseconds the clock is ahead of the system's. */
static int64_t ahead(int64_t now)
{
	int64_t sequence, d;
	if (!dial) /* another library's constructor wants to know the time */
		return 0;
	do {
		sequence = atomic_load(&dial->sequence);
		d = dial->offset + (now - dial->since) * dial->rate / 1000000;
	} while (sequence & 1 || sequence != atomic_load(&dial->sequence));
	return d;
}

/* The system is called directly: the C library's own functions are those below. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
	int64_t micros, nanos;
	if (syscall(SYS_clock_gettime, clock, t))
		return -1;
	if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
		return 0;
	nanos = t->tv_nsec % 1000;
	micros = t->tv_sec * INT64_C(1000000) + t->tv_nsec / 1000;
	micros += ahead(micros);
	t->tv_sec = micros / 1000000;
	t->tv_nsec = micros % 1000000 * 1000 + nanos;
	return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	struct timespec now;
	(void)zone; /* which is obsolete */
	if (clock_gettime(CLOCK_REALTIME, &now))
		return -1;
	t->tv_sec = now.tv_sec;
	t->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t)
{
	struct timespec now;
	if (clock_gettime(CLOCK_REALTIME, &now))
		return -1;
	if (t)
		*t = now.tv_sec;
	return now.tv_sec;
}
