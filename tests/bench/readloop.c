/* SPDX-FileCopyrightText: 2026 The xsfs authors */
/* SPDX-License-Identifier: MIT */
/* The yardstick of the client's speed: reads one node over and over with Xen's own library,
 * prints the seconds it took.  Usage: readloop PATH COUNT, the store in $XENSTORED_PATH. */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <xenstore.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct xs_handle *store = xs_open(0);
    if (argc != 3 || !store)
        return 1;
    int count = atoi(argv[2]);
    double start = now();
    for (int i = 0; i < count; i++) {
        unsigned int length;
        char *value = xs_read(store, XBT_NULL, argv[1], &length);
        if (!value)
            return 2;
        free(value);
    }
    printf("%.9f\n", now() - start);
    xs_close(store);
    return 0;
}
