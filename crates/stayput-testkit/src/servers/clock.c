// Preloaded into a server, has it tell the time by a file that the test writes: two equal counts of milliseconds since 1970.
// Time stands still until the test moves it; what measures durations (clock_gettime) is left alone.

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile uint64_t *counts;

__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("STAYPUT_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) abort();
    void *page = mmap(NULL, 16, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) abort();
    close(file);
    counts = page;
}

// The test writes the first count, then the second: equal ones are no mixture of two times.
static uint64_t now(void) {
    uint64_t second, first;
    do {
        second = counts[1];
        __sync_synchronize();
        first = counts[0];
    } while (first != second);
    return first;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    (void)zone;
    uint64_t millis = now();
    out->tv_sec = millis / 1000;
    out->tv_usec = millis % 1000 * 1000;
    return 0;
}

time_t time(time_t *out) {
    time_t seconds = now() / 1000;
    if (out) *out = seconds;
    return seconds;
}
