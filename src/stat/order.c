#include "saediff/stat/stat.h"

#include <math.h>
#include <stdbool.h>

/* True if index a stands before index b. A total order, so that any sorting method gives one result. */
static bool before(const double *key, uint64_t a, uint64_t b)
{
    if (isnan(key[a]) || isnan(key[b]))
        return isnan(key[a]) && isnan(key[b]) ? a < b : isnan(key[b]);
    if (key[a] != key[b])
        return key[a] > key[b];
    return a < b;
}

/* Restores the heap (last of the order on top) below `node` among order[0 … n−1]. */
static void sift(const double *key, uint64_t *order, uint64_t node, uint64_t n)
{
    uint64_t moving = order[node];

    for (uint64_t child; (child = 2 * node + 1) < n; node = child) {
        if (child + 1 < n && before(key, order[child], order[child + 1]))
            child++;
        if (!before(key, moving, order[child]))
            break;
        order[node] = order[child];
    }
    order[node] = moving;
}

/* Heap sort: in place, so that this cannot fail, and n log n for every input. */
void sd_order_falling(const double *key, uint64_t n, uint64_t *order)
{
    for (uint64_t i = 0; i < n; i++)
        order[i] = i;
    for (uint64_t i = n / 2; i-- > 0;)
        sift(key, order, i, n);
    for (uint64_t end = n; end-- > 1;) {
        uint64_t last = order[0];

        order[0] = order[end];
        order[end] = last;
        sift(key, order, 0, end);
    }
}

double sd_rule_of_three(uint64_t n)
{
    return n < 3 ? 1 : 3 / (double)n;
}

int sd_density_bin(uint64_t count, uint64_t n)
{
    double place = floor(4 * (log10((double)count / (double)n) + 8));

    if (count == 0)
        return -1;
    return place < 0 ? 0 : place >= SD_DENSITY_BINS ? SD_DENSITY_BINS - 1 : (int)place;
}
